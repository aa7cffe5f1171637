"""Writes to our own resources: one status patch a pass, and none where nothing changed. Spec and labels never.

What the apiserver answers goes straight into the cache, so that the next pass reads what this one wrote. Patches carry
the version they were made from: whoever wrote in between wins, and the pass is repeated.
"""

from collections.abc import Iterable
from typing import Any, Final

from ambit.api.base import Resource, StatusModel
from ambit.api.conditions import Condition
from ambit.control.events import Recorder, Telling, worth_telling
from ambit.control.store import DELETED
from ambit.control.world import Kind
from ambit.kube import KubeClient

MODIFIED: Final = "MODIFIED"
Json = dict[str, Any]


class Writer:
    def __init__(self, client: KubeClient, recorder: Recorder) -> None:
        self._client = client
        self._recorder = recorder

    async def status(
        self,
        kind: Kind,
        obj: Resource,
        before: StatusModel,
        after: StatusModel,
        tellings: Iterable[Telling] | None = None,
    ) -> bool:
        """Writes what differs between the statuses, and tells of it; whether anything did. Raises `Conflict`.

        `tellings`: what there is to tell, where that is not what changed in the conditions.
        """
        changes = merge_difference(before.to_dict(), after.to_dict())
        if not changes:
            return False
        if tellings is None:
            tellings = worth_telling(_conditions(before), _conditions(after))
        await self._recorder.tell(obj, tellings)
        patch = {"metadata": {"resourceVersion": obj.metadata.resource_version}, "status": changes}
        answer = await self._client.patch(
            kind.resource, obj.metadata.name, patch, obj.metadata.namespace, subresource="status"
        )
        kind.store.observe(MODIFIED, answer)
        return True

    async def finalizers(self, kind: Kind, obj: Resource, wanted: tuple[str, ...]) -> None:
        """Sets the finalizers, unless somebody has written since. Raises `Conflict`."""
        patch = {"metadata": {"resourceVersion": obj.metadata.resource_version, "finalizers": list(wanted)}}
        answer = await self._client.patch(kind.resource, obj.metadata.name, patch, obj.metadata.namespace)
        gone = not wanted and "deletionTimestamp" in answer["metadata"]
        kind.store.observe(DELETED if gone else MODIFIED, answer)


def merge_difference(before: Json, after: Json) -> Json:
    """The RFC 7386 patch that makes `after` of `before`; empty where they are the same."""
    patch: Json = dict.fromkeys(before.keys() - after.keys())
    for key, value in after.items():
        old = before.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            inner = merge_difference(old, value)  # pyright: ignore[reportUnknownArgumentType] -- JSON objects
            if inner:
                patch[key] = inner
        elif value != old or key not in before:
            patch[key] = value
    return patch


def _conditions(status: StatusModel) -> tuple[Condition, ...]:
    return getattr(status, "conditions", ())
