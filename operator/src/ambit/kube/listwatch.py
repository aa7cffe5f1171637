"""A cache of one kind, kept by list and watch: for kinds that every process reads far more often than they change.

Objects are decoded once, to whatever slim value the reader wants (2 KiB instead of 43 for a Pod). A watch that ends is
taken up where it was; one that cannot be (410, or any error inside it) is followed by a new list, which is compared
with what is known, so that what vanished meanwhile is reported as deleted too.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Generic, NoReturn, TypeVar

import msgspec

from ambit.kube.client import KubeClient, selector_query
from ambit.kube.errors import ApiError, Gone, Unreachable, from_answer
from ambit.kube.logs import lines
from ambit.kube.resources import Resource
from ambit.telemetry import metrics

T = TypeVar("T")
Key = tuple[str, str]
"""(namespace, name); the namespace is empty for kinds without."""

SERVER_TIMEOUT_S: Final = 300
CLIENT_TIMEOUT_S: Final = 310.0
FIRST_BACKOFF_S: Final = 0.5
LONGEST_BACKOFF_S: Final = 30.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Change(Generic[T]):
    """One object appeared (`before` is None), changed, or vanished (`after` is None)."""

    key: Key
    before: T | None
    after: T | None


class ListWatch(Generic[T]):
    """The present objects of one kind, in all namespaces or one, perhaps narrowed by a selector.

    `decode` turns one object's JSON into a value; an object that it refuses (msgspec.ValidationError, ValueError) is
    kept out of the cache, logged and counted, and does not stop the others. Subscribers are called on the event loop,
    after the cache has changed.
    """

    def __init__(
        self,
        client: KubeClient,
        resource: Resource,
        decode: Callable[[bytes], T],
        *,
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
    ) -> None:
        self._client = client
        self.resource = resource
        self._decode = decode
        self._namespace = namespace
        self._label_selector = label_selector
        self._field_selector = field_selector
        self._items: dict[Key, T] = {}
        self._versions: dict[Key, str] = {}
        self._subscribers: list[Callable[[Change[T]], None]] = []
        self.items: Mapping[Key, T] = MappingProxyType(self._items)
        self.synced = asyncio.Event()
        """Set once the first list is in the cache."""
        self._last_version = ""
        self._failures = 0
        """In a row: back to 0 with the first event of a watch."""

    def subscribe(self, callback: Callable[[Change[T]], None]) -> Callable[[], None]:
        """Calls back at each change from now on; the answer ends that."""
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback)

    async def run(self) -> NoReturn:
        """Keeps the cache until cancelled; outlives every failure of the apiserver."""
        version = ""
        while True:
            try:
                if not version:
                    version = await self._relist()
                version = await self._watch(version)
            except ApiError as error:
                self._failures += 1
                # What broke off is taken up at the last version seen; what the apiserver refused begins anew.
                version = self._last_version if isinstance(error, Unreachable) else ""
                if isinstance(error, Gone):
                    metrics.KUBE_RELISTS.labels(self.resource.plural).inc()
                    if self._failures == 1:
                        continue
                _log.warning("watching %s: %s", self.resource.plural, error.message)
                await asyncio.sleep(_backoff_s(self._failures))

    async def _relist(self) -> str:
        raw, version = await self._client.list_raw(
            self.resource,
            self._namespace,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
        )
        vanished = set(self._items)
        for item in raw:
            vanished.discard(self._put(item))
        for key in vanished:
            self._remove(key)
        self._last_version = version
        self.synced.set()
        return version

    async def _watch(self, version: str) -> str:
        """Follows one watch to its end; the answer is the version to go on from."""
        self._last_version = version
        query = selector_query(self._label_selector, self._field_selector) | {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(SERVER_TIMEOUT_S),
        }
        path = self.resource.path(self._namespace)
        async with self._client.stream(self.resource, path, query, read_timeout_s=CLIENT_TIMEOUT_S) as content:
            async for line in lines(content):
                try:
                    event = msgspec.json.decode(line, type=_Event)
                except msgspec.DecodeError:
                    # A line that was cut off: the connection broke inside it. The same version is taken up again.
                    break
                if event.type == "ERROR":
                    status = msgspec.json.decode(event.object, type=_ErrorStatus)
                    raise from_answer(status.code, bytes(event.object), f"WATCH {path}")
                if event.type in ("ADDED", "MODIFIED"):
                    self._put(event.object)
                elif event.type == "DELETED":
                    self._remove(_meta(event.object).key)
                self._last_version = _meta(event.object).resource_version
                self._failures = 0
        return self._last_version

    def _put(self, raw: msgspec.Raw) -> Key:
        meta = _meta(raw)
        if self._versions.get(meta.key) == meta.resource_version:
            return meta.key
        try:
            after = self._decode(bytes(raw))
        except ValueError as error:  # msgspec's and pydantic's validation errors are ValueErrors
            metrics.KUBE_UNDECODABLE.labels(self.resource.plural).inc()
            _log.error("%s %s/%s cannot be read and is ignored: %s", self.resource.kind, *meta.key, error)
            self._remove(meta.key)
            return meta.key
        before = self._items.get(meta.key)
        self._items[meta.key] = after
        self._versions[meta.key] = meta.resource_version
        self._notify(Change(meta.key, before, after))
        return meta.key

    def _remove(self, key: Key) -> None:
        self._versions.pop(key, None)
        if key in self._items:
            self._notify(Change(key, self._items.pop(key), None))

    def _notify(self, change: Change[T]) -> None:
        for callback in tuple(self._subscribers):
            callback(change)


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _ErrorStatus(msgspec.Struct):
    code: int = 500


class _Metadata(msgspec.Struct):
    resource_version: str = msgspec.field(name="resourceVersion", default="")
    name: str = ""
    namespace: str = ""

    @property
    def key(self) -> Key:
        return self.namespace, self.name


class _Object(msgspec.Struct):
    metadata: _Metadata


_decode_object = msgspec.json.Decoder(_Object).decode


def _meta(raw: msgspec.Raw) -> _Metadata:
    return _decode_object(raw).metadata


def _backoff_s(failures: int) -> float:
    """Doubles with each failure in a row; with jitter, so that processes do not come back all at once."""
    return min(FIRST_BACKOFF_S * 2.0 ** min(failures - 1, 10), LONGEST_BACKOFF_S) * random.uniform(0.5, 1.0)
