"""Requests to the apiserver.

aiohttp, because it costs 0.13 ms of CPU a request where httpx costs 3 at 50 in parallel. Objects are plain JSON here:
what they mean is `ambit.api`'s. Caches of a kind are `listwatch`'s, logs `logs`'s.
"""

import asyncio
import logging
import random
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Final, Literal, Self

import aiohttp
import msgspec

from ambit.kube import logs, reviews
from ambit.kube.config import KubeConfig
from ambit.kube.errors import ApiError, Gone, Unreachable, from_answer
from ambit.kube.resources import SUBJECT_ACCESS_REVIEWS, TOKEN_REVIEWS, Resource
from ambit.kube.reviews import Access, Identity
from ambit.telemetry import metrics

Json = dict[str, Any]
"""One object as the apiserver writes it."""
RawObjects = list[msgspec.Raw]
Propagation = Literal["Background", "Foreground", "Orphan"]

MERGE_PATCH: Final = "application/merge-patch+json"
JSON_PATCH: Final = "application/json-patch+json"
APPLY_PATCH: Final = "application/apply-patch+yaml"

ATTEMPTS: Final = 4
RETRY_AFTER_MAX_S: Final = 10.0
LIST_PAGE: Final = 500
CONNECT_TIMEOUT_S: Final = 30.0
REQUEST_TIMEOUT_S: Final = 60.0

_log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Json).decode


class KubeClient:
    """One connection pool to one apiserver; an async context manager.

    Every method raises a subclass of `ApiError`. A request that is idempotent is sent again when no answer came; any
    request, when the answer was 429 or 503 with `Retry-After`, given before anything is carried out.
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

    # -- objects ---------------------------------------------------------
    async def get(
        self, resource: Resource, name: str, namespace: str | None = None, *, subresource: str | None = None
    ) -> Json:
        """One object."""
        return await self._json("GET", resource, resource.path(namespace, name, subresource))

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
    ) -> list[Json]:
        """All objects of a kind, in one namespace or in all, as they were at one moment."""
        raw, _ = await self.list_raw(resource, namespace, label_selector=label_selector, field_selector=field_selector)
        return [_decode(item) for item in raw]

    async def list_raw(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
    ) -> tuple[RawObjects, str]:
        """As `list`, undecoded, with the resource version of that moment: where a watch goes on."""
        selectors = selector_query(label_selector, field_selector)
        path = resource.path(namespace)
        items: RawObjects = []
        query = selectors | {"limit": str(LIST_PAGE)}
        while True:
            try:
                body = await self.request("GET", resource, path, query=query)
            except Gone:
                # The continuation outlived the apiserver's history: begin again, and take all of it at once.
                items, query = [], dict(selectors)
                continue
            page = msgspec.json.decode(body, type=_Page)
            items += page.items
            if not page.metadata.continuation:
                return items, page.metadata.resource_version
            query = selectors | {"limit": str(LIST_PAGE), "continue": page.metadata.continuation}

    async def create(
        self,
        resource: Resource,
        body: Mapping[str, Any],
        namespace: str | None = None,
        *,
        name: str | None = None,
        subresource: str | None = None,
        dry_run: bool = False,
    ) -> Json:
        """Creates one object, and gives it back as stored. `name` and `subresource` are for paths like `…/token`."""
        query = {"dryRun": "All"} if dry_run else None
        path = resource.path(namespace, name, subresource)
        return await self._json("POST", resource, path, body=body, query=query)

    async def replace(
        self, resource: Resource, name: str, body: Mapping[str, Any], namespace: str | None = None
    ) -> Json:
        """Replaces one object; `Conflict` where `metadata.resourceVersion` is given and no longer the present one."""
        return await self._json("PUT", resource, resource.path(namespace, name), body=body)

    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: Mapping[str, Any],
        namespace: str | None = None,
        *,
        subresource: str | None = None,
    ) -> Json:
        """Merges `patch` into one object (RFC 7386); `Conflict` where its `metadata.resourceVersion` is old."""
        path = resource.path(namespace, name, subresource)
        return await self._json("PATCH", resource, path, body=patch, content_type=MERGE_PATCH)

    async def patch_status(
        self, resource: Resource, name: str, status: Mapping[str, Any], namespace: str | None = None
    ) -> Json:
        """Merges `status` into an object's status."""
        return await self.patch(resource, name, {"status": status}, namespace, subresource="status")

    async def patch_json(
        self,
        resource: Resource,
        name: str,
        operations: Sequence[Mapping[str, Any]],
        namespace: str | None = None,
        *,
        subresource: str | None = None,
    ) -> Json:
        """Applies RFC 6902 operations; never sent twice, since they need not be idempotent."""
        path = resource.path(namespace, name, subresource)
        return await self._json("PATCH", resource, path, body=operations, content_type=JSON_PATCH)

    async def apply(
        self, resource: Resource, body: Mapping[str, Any], namespace: str | None = None, *, field_manager: str
    ) -> Json:
        """Server-side apply by `field_manager`, which takes over the fields it names. The name is `metadata.name`."""
        path = resource.path(namespace, body["metadata"]["name"])
        query = {"fieldManager": field_manager, "force": "true"}
        return await self._json("PATCH", resource, path, body=body, content_type=APPLY_PATCH, query=query)

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        grace_period_s: int | None = None,
        propagation: Propagation = "Background",
    ) -> None:
        """Deletes one object; `Conflict` unless it still has the UID and the resource version given."""
        options: Json = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        preconditions = {"uid": uid, "resourceVersion": resource_version}
        if given := {key: value for key, value in preconditions.items() if value is not None}:
            options["preconditions"] = given
        if grace_period_s is not None:
            options["gracePeriodSeconds"] = grace_period_s
        await self.request("DELETE", resource, resource.path(namespace, name), body=options)

    # -- identity --------------------------------------------------------
    async def token_review(self, token: str, audiences: tuple[str, ...] = ()) -> Identity | None:
        """Whose token it is; None if it is not good, or meant for none of `audiences` (empty: the apiserver's own)."""
        body = reviews.token_review(token, audiences)
        answer = await self._json("POST", TOKEN_REVIEWS, TOKEN_REVIEWS.path(), body=body, idempotent=True)
        return reviews.reviewed_identity(answer, audiences)

    async def subject_access_review(self, identity: Identity, access: Access) -> bool:
        """Whether `identity` may do `access`, by whatever authorizers the cluster has."""
        body = reviews.subject_access_review(identity, access)
        path = SUBJECT_ACCESS_REVIEWS.path()
        answer = await self._json("POST", SUBJECT_ACCESS_REVIEWS, path, body=body, idempotent=True)
        return answer["status"].get("allowed") is True

    # -- streams ---------------------------------------------------------
    def follow_log(self, namespace: str, pod: str, container: str) -> AsyncIterator[bytes]:
        """The container's output, line by line as it comes, until container or pod is gone; see `logs.follow`."""
        return logs.follow(self, namespace, pod, container)

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

    # -- the wire --------------------------------------------------------
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

    async def _json(
        self,
        method: str,
        resource: Resource,
        path: str,
        *,
        body: Any = None,
        content_type: str = "application/json",
        query: Mapping[str, str] | None = None,
        idempotent: bool | None = None,
    ) -> Json:
        answer = await self.request(
            method, resource, path, body=body, content_type=content_type, query=query, idempotent=idempotent
        )
        return _decode(answer)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("KubeClient is used outside its `async with` block")
        return self._session

    def _credentials(self) -> dict[str, str]:
        token = self.config.token
        return {} if token is None else {"Authorization": f"Bearer {token()}"}


class _PageMeta(msgspec.Struct):
    resource_version: str = msgspec.field(name="resourceVersion")
    continuation: str = msgspec.field(name="continue", default="")


class _Page(msgspec.Struct):
    metadata: _PageMeta
    items: list[msgspec.Raw]


def selector_query(label_selector: str | None, field_selector: str | None) -> dict[str, str]:
    """The query parameters of a list or watch."""
    query = {"labelSelector": label_selector, "fieldSelector": field_selector}
    return {key: value for key, value in query.items() if value}


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
