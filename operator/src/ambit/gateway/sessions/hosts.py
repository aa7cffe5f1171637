"""What the gateway asks of isolate hosts (docs/design/0001-interfaces.md, "Isolate host").

Every request carries a token that the gateway signed for that one pod and that lives a minute.
"""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType, TracebackType
from typing import Any, Final, Self

import aiohttp
import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ambit.api.names import CODE_HEADER, HOST_ERROR_HEADER, ISOLATE_HOST_AUDIENCE, RUNTIME_HEADER
from ambit.gateway.sessions.code import Bundle
from ambit.gateway.sessions.placing import Host
from ambit.telemetry import tracing
from ambit.telemetry.reasons import HostError
from ambit.telemetry.tracing import Kind, SpanName

TOKEN_LIFE_S: Final = 60
TOKEN_REUSED_S: Final = 30.0
CONNECT_TIMEOUT_S: Final = 5.0
ANSWER_TIMEOUT_S: Final = 10.0
PLACE_TIMEOUT_S: Final = 5.0
"""A caller waits meanwhile, and another host may answer at once."""


class HostFailed(Exception):
    """The host refused or ended the session, or is gone (`reason` is None)."""

    def __init__(self, reason: HostError | None, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass
class Answer:
    """An agent's answer, as it comes."""

    status: int
    content: AsyncIterator[bytes]


class _Refusal(msgspec.Struct):
    message: str = ""


class _State(msgspec.Struct):
    state: str
    reason: str = ""
    message: str = ""


class Signer:
    """Signs the gateway's requests to hosts."""

    def __init__(self, private_pem: bytes) -> None:
        """Raises ValueError where the key is none, or not Ed25519."""
        key = load_pem_private_key(private_pem, password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError("the gateway's signing key has to be an Ed25519 key")
        self._key = key
        self._tokens: dict[str, tuple[str, float]] = {}

    def token(self, pod_uid: str) -> str:
        """A token for one host, at most `TOKEN_REUSED_S` old."""
        now = time.time()
        token, made_at = self._tokens.get(pod_uid, ("", 0.0))
        if not now - TOKEN_REUSED_S < made_at <= now:
            claims: dict[str, Any] = {"aud": ISOLATE_HOST_AUDIENCE, "sub": pod_uid, "exp": int(now) + TOKEN_LIFE_S}
            token = jwt.encode(claims, self._key, algorithm="EdDSA")
            self._tokens = {uid: kept for uid, kept in self._tokens.items() if kept[1] > now - TOKEN_REUSED_S}
            self._tokens[pod_uid] = (token, now)
        return token


class HostClient:
    """One connection pool to all hosts; an async context manager."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            # An agent may be silent for as long as its runtime lasts; the runtime's slices bound that.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
            auto_decompress=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def take_place(self, host: Host, namespace: str, session: str) -> None:
        """Keeps room on the host for a session that is opened there soon (`ambit.isolates.sessions.PLACE_KEPT_S`).
        Raises HostFailed.
        """
        await self._tell("PUT", host, f"/v1/sessions/{namespace}/{session}/place", _FOR_A_PLACE)

    @asynccontextmanager
    async def run(
        self,
        host: Host,
        namespace: str,
        session: str,
        bundle: Bundle,
        session_input: str,
        runtime_ms: Callable[[], int],
    ) -> AsyncGenerator[Answer]:
        """Runs the agent; leaving the block aborts it. Raises HostFailed, from inside the block too.

        The code is handed over only where the host does not have it. `runtime_ms`: for how long the host may run it
        from this moment on; asked whenever a request to open it is sent.
        """
        try:
            async with self._opened(host, namespace, session, bundle, session_input, runtime_ms) as answer:
                yield Answer(answer.status, answer.content.iter_any())
        except (aiohttp.ClientError, OSError) as error:
            raise await self._why(host, namespace, session, error) from error

    @asynccontextmanager
    async def _opened(
        self,
        host: Host,
        namespace: str,
        session: str,
        bundle: Bundle,
        session_input: str,
        runtime_ms: Callable[[], int],
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        url = f"{host.url}/v1/sessions/{namespace}/{session}"
        headers = {CODE_HEADER: bundle.sha256, "Content-Type": "text/plain;charset=utf-8"}
        for attempt in (1, 2):
            headers[RUNTIME_HEADER] = str(runtime_ms())
            with tracing.part(SpanName.ISOLATE_OPEN, Kind.CLIENT):
                asked = await self._open().post(
                    url, data=session_input.encode(), headers=headers | self._authorization(host)
                )
            async with asked as answer:
                refusal = await _refusal(answer)
                if refusal is None:
                    yield answer
                    return
                if refusal.reason is not HostError.CODE_MISSING or attempt == 2:
                    raise refusal
            await self._hand_over(host, bundle)

    async def _hand_over(self, host: Host, bundle: Bundle) -> None:
        async with self._open().put(
            f"{host.url}/v1/code/{bundle.sha256}",
            data=bundle.body,
            headers={"Content-Type": "application/json"} | self._authorization(host),
            timeout=_SHORT,
        ) as answer:
            refusal = await _refusal(answer)
            if refusal is not None:
                raise refusal

    async def renew(self, host: Host, namespace: str, session: str, runtime_ms: int) -> None:
        """Tells the host of more runtime; `runtime_ms` is all of it, counted from the request that opened the session.
        Raises HostFailed, also where the session is not running there.
        """
        headers = {RUNTIME_HEADER: str(runtime_ms)}
        await self._tell("PUT", host, f"/v1/sessions/{namespace}/{session}/runtime", _SHORT, headers)

    async def end(self, host: Host, namespace: str, session: str) -> None:
        """Aborts the session; when it returns, nothing of it is left on the host. Raises HostFailed."""
        await self._tell("DELETE", host, f"/v1/sessions/{namespace}/{session}", _SHORT)

    async def _tell(
        self,
        method: str,
        host: Host,
        path: str,
        timeout: aiohttp.ClientTimeout,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """A request whose answer says no more than that it is done. Raises HostFailed."""
        headers = {**headers, **self._authorization(host)}
        try:
            async with self._open().request(method, host.url + path, headers=headers, timeout=timeout) as answer:
                refusal = await _refusal(answer)
                if refusal is not None:
                    raise refusal
                if answer.status != HTTPStatus.NO_CONTENT:
                    raise HostFailed(None, f"isolate host {host.namespace}/{host.name} answered {answer.status}")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _gone(host, error) from error

    async def _why(self, host: Host, namespace: str, session: str, error: BaseException) -> HostFailed:
        """Why an answer broke off: the host says, unless it is gone itself."""
        url = f"{host.url}/v1/sessions/{namespace}/{session}"
        try:
            async with self._open().get(url, headers=self._authorization(host), timeout=_SHORT) as answer:
                if answer.status == HTTPStatus.OK:
                    state = msgspec.json.decode(await answer.read(), type=_State)
                    reason = _known(state.reason)
                    if reason is not None:
                        return HostFailed(reason, state.message)
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError) as second:
            return _gone(host, second)
        return _gone(host, error)

    def _authorization(self, host: Host) -> dict[str, str]:
        """What every request carries: who we are, and the trace that it is part of."""
        return {"Authorization": f"Bearer {self._signer.token(host.uid)}", **tracing.outgoing_text()}

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("HostClient is used outside its `async with` block")
        return self._session


_SHORT: Final = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S)
_FOR_A_PLACE: Final = aiohttp.ClientTimeout(total=PLACE_TIMEOUT_S)


async def _refusal(answer: aiohttp.ClientResponse) -> HostFailed | None:
    """The host's own refusal, if it is not the agent that answered."""
    named = answer.headers.get(HOST_ERROR_HEADER)
    if named is None:
        return None
    try:
        said = msgspec.json.decode(await answer.read(), type=_Refusal)
    except msgspec.DecodeError:
        said = _Refusal()
    return HostFailed(_known(named), said.message or f"the host answered {answer.status} {named}")


def _known(reason: str) -> HostError | None:
    try:
        return HostError(reason)
    except ValueError:
        return None


def _gone(host: Host, error: BaseException) -> HostFailed:
    return HostFailed(
        None, f"isolate host {host.namespace}/{host.name} broke off: {str(error) or type(error).__name__}"
    )
