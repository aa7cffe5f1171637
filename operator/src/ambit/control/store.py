"""The present objects of one of our kinds, fed by kopf's events and by lists of our own.

kopf relists after a 410 but reports only what is still there, so what vanished in the gap is found by comparing with a
list (`relisted`). Events and lists may overtake each other; the higher resource version wins.
"""

import logging
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar

from ambit.api.base import InvalidObject, Resource
from ambit.kube import Change, Key
from ambit.telemetry import metrics

T = TypeVar("T", bound=Resource)
DELETED: Final = "DELETED"

_log = logging.getLogger(__name__)


class Store(Generic[T]):
    """A cache of one kind. Subscribers are called after it has changed; nothing is said where nothing changed."""

    def __init__(self, model: type[T]) -> None:
        self.model = model
        self.synced = False
        """Whether a whole list has been seen."""
        self._items: dict[Key, T] = {}
        self._versions: dict[Key, int] = {}
        self._gone: dict[Key, int] = {}
        """The version at which a name was last seen to be free; so that a late event does not bring it back."""
        self._subscribers: list[Callable[[Change[T]], None]] = []
        self.items: Mapping[Key, T] = MappingProxyType(self._items)

    def subscribe(self, callback: Callable[[Change[T]], None]) -> None:
        self._subscribers.append(callback)

    def observe(self, event_type: str | None, obj: dict[str, Any]) -> None:
        """Takes one watch event; `event_type` is None for an object of an initial list, as kopf has it."""
        key, version = _identity(obj)
        if version < max(self._versions.get(key, 0), self._gone.get(key, 0)):
            return
        if event_type == DELETED:
            self._remove(key, version)
        elif self._versions.get(key) != version:
            self._put(key, version, obj)

    def relisted(self, objects: list[dict[str, Any]], version: str) -> int:
        """Takes a whole list as of `version`; the answer is how many objects had vanished unseen."""
        listed: set[Key] = set()
        for obj in objects:
            self.observe(None, obj)
            listed.add(_identity(obj)[0])
        known = set(self._versions)
        vanished = [key for key in known - listed if self._versions[key] <= int(version)]
        for key in vanished:
            self._remove(key, int(version))
        self._gone = {key: at for key, at in self._gone.items() if at >= int(version)}
        self.synced = True
        return len(vanished)

    def _put(self, key: Key, version: int, obj: dict[str, Any]) -> None:
        try:
            after = self.model.from_dict(obj)
        except InvalidObject as unreadable:
            metrics.KUBE_UNDECODABLE.labels(self.model.resource.plural).inc()
            _log.error("%s; it is ignored", unreadable)
            self._remove(key, version)
            return
        before = self._items.get(key)
        self._items[key] = after
        self._versions[key] = version
        self._gone.pop(key, None)
        self._notify(Change(key, before, after))

    def _remove(self, key: Key, version: int) -> None:
        self._gone[key] = version
        self._versions.pop(key, None)
        before = self._items.pop(key, None)
        if before is not None:
            self._notify(Change(key, before, None))

    def _notify(self, change: Change[T]) -> None:
        for callback in self._subscribers:
            callback(change)


def _identity(obj: dict[str, Any]) -> tuple[Key, int]:
    """Resource versions are compared as numbers, which Kubernetes 1.35 promises and etcd always kept."""
    metadata = obj["metadata"]
    return (metadata.get("namespace", ""), metadata["name"]), int(metadata["resourceVersion"])
