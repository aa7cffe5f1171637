"""One connection pool to the apiserver: authenticated requests with the retries that are safe, and streams.

aiohttp, because it costs 0.13 ms of CPU a request where httpx costs 3 at 50 in parallel. What is asked is `client`'s.
"""

import asyncio
import logging
import random
import socket
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
import msgspec

from ambit.kube.config import KubeConfig
from ambit.kube.errors import ApiError, Unreachable, from_answer
from ambit.kube.resources import Resource
from ambit.telemetry import metrics

MERGE_PATCH: Final = "application/merge-patch+json"
JSON_PATCH: Final = "application/json-patch+json"
APPLY_PATCH: Final = "application/apply-patch+yaml"

ATTEMPTS: Final = 4
RETRY_AFTER_MAX_S: Final = 10.0
CONNECT_TIMEOUT_S: Final = 30.0
REQUEST_TIMEOUT_S: Final = 60.0

_log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode


class Connection:
    """An async context manager; its requests raise subclasses of `ApiError`.

    A request that is idempotent is sent again when no answer came; any request, when the answer was 429 or 503 with
    `Retry-After`, given before anything is carried out.
    """

    def __init__(self, config: KubeConfig) -> None:
        self.config = config
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(
            limit=0, ssl=self.config.tls if self.config.tls is not None else True, socket_factory=_keep_alive_socket
        )
        self._session = aiohttp.ClientSession(
            base_url=self.config.server,
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S),
            headers={"Accept": "application/json", "User-Agent": "ambit"},
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def request(
        self,
        method: str,
        resource: Resource,
        path: str,
        *,
        body: Any = None,
        content_type: str = "application/json",
        query: Mapping[str, str] | None = None,
        idempotent: bool | None = None,
    ) -> bytes:
        """One request, with the retries that are safe. `idempotent` overrides what method and content type say."""
        safe = _idempotent(method, content_type) if idempotent is None else idempotent
        headers = {"Content-Type": content_type}
        data = None if body is None else _encode(body)
        for attempt in range(1, ATTEMPTS + 1):
            error: ApiError
            try:
                async with self._open().request(
                    method, path, data=data, params=query, headers=headers | self._credentials()
                ) as answer:
                    content = await answer.read()
                    metrics.KUBE_REQUESTS.labels(method, resource.plural, str(answer.status)).inc()
                    if answer.status < 300:
                        return content
                    error = from_answer(answer.status, content, f"{method} {path}")
                    wait_s = _retry_after_s(answer.status, answer.headers.get("Retry-After"))
            except (aiohttp.ClientError, TimeoutError, OSError) as caught:
                metrics.KUBE_REQUESTS.labels(method, resource.plural, "none").inc()
                error = _unreachable(self.config.server, caught, f"{method} {path}")
                wait_s = 0.1 * 2**attempt if safe else None
            if wait_s is None or attempt == ATTEMPTS:
                raise error
            _log.info("trying %s again: %s", error.request, error.message)
            await asyncio.sleep(wait_s * random.uniform(0.8, 1.2))
        raise AssertionError("the last attempt returns or raises")

    async def clock_ms(self) -> int:
        """The apiserver's clock, since the epoch, to the second: the date of an answer. Raises `Unreachable`."""
        request = "GET /version"
        try:
            async with self._open().get("/version", headers=self._credentials()) as answer:
                said = parsedate_to_datetime(answer.headers.get("Date", ""))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:  # ValueError: it has no such date
            raise _unreachable(self.config.server, error, request) from error
        return int(said.timestamp() * 1000)

    @asynccontextmanager
    async def stream(
        self, resource: Resource, path: str, query: Mapping[str, str], read_timeout_s: float | None
    ) -> AsyncGenerator[aiohttp.StreamReader]:
        """An answer that goes on for as long as it likes; `read_timeout_s` bounds the silence in it (None: any).

        Not retried: only the caller knows where to go on. Raises `Unreachable` from inside the block, too.
        """
        request = f"GET {path}"
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=read_timeout_s)
        try:
            async with self._open().get(path, params=query, headers=self._credentials(), timeout=timeout) as answer:
                metrics.KUBE_REQUESTS.labels("GET", resource.plural, str(answer.status)).inc()
                if answer.status >= 300:
                    raise from_answer(answer.status, await answer.read(), request)
                yield answer.content
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unreachable(self.config.server, error, request) from error

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("KubeClient is used outside its `async with` block")
        return self._session

    def _credentials(self) -> dict[str, str]:
        token = self.config.token
        return {} if token is None else {"Authorization": f"Bearer {token()}"}


def _idempotent(method: str, content_type: str) -> bool:
    return method in ("GET", "PUT", "DELETE") or (method == "PATCH" and content_type in (MERGE_PATCH, APPLY_PATCH))


def _retry_after_s(status: int, header: str | None) -> float | None:
    """How long the apiserver asks to wait; None where it does not, and the request must not be sent again."""
    if status not in (429, 503) or header is None or not header.isdigit():
        return None
    return min(max(float(header), 0.1), RETRY_AFTER_MAX_S)


def _unreachable(server: str, error: BaseException, request: str) -> Unreachable:
    cause = str(error) or type(error).__name__
    return Unreachable(0, "Unreachable", f"the apiserver at {server} could not be reached: {cause}", request)


def _keep_alive_socket(address: tuple[Any, ...]) -> socket.socket:
    """A socket that notices within about a minute that the other side is gone: watches are silent for long."""
    family, kind, protocol = address[:3]  # as getaddrinfo gives it
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    return made
