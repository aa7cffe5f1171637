"""Sandboxes of container sessions: what the gateway writes, and the little it reads of them."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from ambit.api.agent import Agent
from ambit.api.common import BoundsOverride
from ambit.api.names import AGENT_LABEL, API_VERSION, OPENED_BY_ANNOTATION, SESSION_LABEL

MAX_INPUT_BYTES: Final = 64 * 1024


class _Metadata(msgspec.Struct, rename="camel"):
    name: str
    namespace: str
    uid: str
    annotations: dict[str, str] = {}


class _Spec(msgspec.Struct):
    session: str = ""


class _Status(msgspec.Struct, rename="camel"):
    pod_name: str | None = None
    started_at: str | None = None
    reason: str | None = None
    message: str | None = None
    exit_code: int | None = None


class SandboxView(msgspec.Struct):
    """A Sandbox, as far as a session's caller is concerned."""

    metadata: _Metadata
    spec: _Spec = msgspec.field(default_factory=_Spec)
    status: _Status = msgspec.field(default_factory=_Status)

    @property
    def finished(self) -> bool:
        """Whether the operator has said how it ended."""
        return self.status.reason is not None

    @property
    def opened_by(self) -> str | None:
        """The pod of the gateway whose caller it runs for; None: a user's own."""
        return self.metadata.annotations.get(OPENED_BY_ANNOTATION) if self.spec.session else None


decode_sandbox = msgspec.json.Decoder(SandboxView).decode


def sandbox(
    agent: Agent,
    session: str,
    session_input: str,
    bounds: BoundsOverride | None,
    opened_by: str,
    *,
    user: str = "",
    labels: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The Sandbox of one session. It goes with its Agent; the operator runs it."""
    spec: dict[str, Any] = {"agentRef": {"name": agent.metadata.name}, "session": session, "input": session_input}
    if bounds is not None:
        spec["bounds"] = bounds.to_dict()
    if user:
        spec["user"] = user
    if labels:
        spec["usageLabels"] = dict(labels)
    return {
        "apiVersion": API_VERSION,
        "kind": "Sandbox",
        "metadata": {
            "name": session,
            "namespace": agent.metadata.namespace,
            "labels": {AGENT_LABEL: agent.metadata.name, SESSION_LABEL: session},
            "annotations": {OPENED_BY_ANNOTATION: opened_by},
            "ownerReferences": [
                {"apiVersion": API_VERSION, "kind": "Agent", "name": agent.metadata.name, "uid": agent.metadata.uid}
            ],
        },
        "spec": spec,
    }
