"""Kubernetes Events of our own: one per change of a reason, and never twice for the same change.

An Event's name follows from the object, its version (or what it is told of once) and the reason, so that a pass
repeated after a kill meets the one that is already there.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2s
from typing import Final

from ambit.api.base import Resource
from ambit.api.conditions import Condition, ConditionStatus, ConditionType
from ambit.api.names import API_VERSION
from ambit.kube import AlreadyExists, ApiError, KubeClient, resources
from ambit.telemetry.reasons import Progress, SessionEnd

CONTROLLER: Final = "ambit.dev/operator"
NOTE_BYTES: Final = 1024
"""The apiserver takes no longer note."""

_QUIET: Final = frozenset(
    {Progress.STARTING, Progress.CREATING, Progress.RUNNING, Progress.STOPPING, Progress.ACCOUNT_PENDING}
)
"""Steps that pass by themselves."""
_GOOD: Final = frozenset({Progress.READY, Progress.WITHIN_BUDGET, SessionEnd.COMPLETED})

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Telling:
    """One Event to be."""

    reason: str
    note: str
    warning: bool
    once: str = ""
    """What it is about, where that is told of once, however often the object changes; else this change of it."""


def worth_telling(before: Iterable[Condition], after: Iterable[Condition]) -> tuple[Telling, ...]:
    """What changed in the conditions that a person should see; a reason once, however many conditions give it."""
    known = {condition.type: (condition.status, condition.reason) for condition in before}
    tellings: dict[str, Telling] = {}
    for condition in after:
        if known.get(condition.type) == (condition.status, condition.reason) or condition.reason in _QUIET:
            continue
        good = condition.reason in _GOOD
        if condition.type == ConditionType.READY or (condition.status is ConditionStatus.FALSE and not good):
            tellings.setdefault(condition.reason, Telling(condition.reason, condition.message, warning=not good))
    return tuple(tellings.values())


class Recorder:
    """Writes Events. One that cannot be written is logged and let go: it must not keep work from being done."""

    def __init__(self, client: KubeClient, instance: str) -> None:
        self._client = client
        self._instance = instance

    async def tell(self, about: Resource, tellings: Iterable[Telling]) -> None:
        for telling in tellings:
            body = _event(about, telling, self._instance, datetime.now(UTC))
            try:
                await self._client.create(resources.EVENTS, body, about.metadata.namespace)
            except AlreadyExists:
                continue
            except ApiError as refused:
                _log.warning("no Event %s for %s: %s", telling.reason, about.key, refused)


def _event(about: Resource, telling: Telling, instance: str, now: datetime) -> dict[str, object]:
    meta = about.metadata
    change = blake2s(
        f"{meta.uid}/{telling.once or meta.resource_version}/{telling.reason}".encode(), digest_size=8
    ).hexdigest()
    return {
        "apiVersion": resources.EVENTS.api_version,
        "kind": "Event",
        "metadata": {"name": f"{meta.name[:200]}.{change}", "namespace": meta.namespace},
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reportingController": CONTROLLER,
        "reportingInstance": instance[:128],
        "action": "Reconcile",
        "reason": telling.reason,
        "note": telling.note.encode()[:NOTE_BYTES].decode(errors="ignore"),
        "type": "Warning" if telling.warning else "Normal",
        "regarding": {
            "apiVersion": API_VERSION,
            "kind": about.resource.kind,
            "namespace": meta.namespace,
            "name": meta.name,
            "uid": meta.uid,
            "resourceVersion": meta.resource_version,
        },
    }
