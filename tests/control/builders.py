"""Builders of what a Sandbox is decided from: each argument is what a test is about, the rest is in order."""

from dataclasses import replace
from typing import Any

from ambit.api.sandbox import Sandbox
from ambit.control.objects import (
    ContainerState,
    ContainerStatus,
    Meta,
    Owner,
    Pod,
    PodCondition,
    PodSpec,
    PodStatus,
    Running,
    Terminated,
    Waiting,
)
from ambit.control.reconcilers.sandbox.manifests import Cluster
from ambit.control.reconcilers.sandbox.runtime import Hold
from ambit.control.reconcilers.sandbox.state import Session, Snapshot
from ambit.ledger.amounts import Amount
from ambit.policy import Facts, Verdict, judge_sandbox
from tests.policy.builders import GATEWAY, a_budget, an_agent

NOW_MS = 1_795_000_000_000
UID = "0f3a9b2c-0000-0000-0000-000000000000"
FINALIZER = "ambit.dev/session-account"
CLUSTER = Cluster("ambit-system", "10.0.0.7", has_gvisor=True, start_timeout_ms=300_000)


def at(seconds: float) -> str:
    """An instant so many seconds from NOW, as Kubernetes writes it."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(NOW_MS / 1000 + seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def a_sandbox(
    name: str = "run",
    *,
    spec: dict[str, Any] | None = None,
    status: dict[str, Any] | None = None,
    finalizers: tuple[str, ...] = (FINALIZER,),
    deleting: bool = False,
    created: float = -10,
) -> Sandbox:
    """Of Agent `coder`, accepted and guarded by the finalizer, created ten seconds ago."""
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": "team-a",
        "uid": UID,
        "generation": 1,
        "resourceVersion": "7",
        "finalizers": list(finalizers),
        "creationTimestamp": at(created),
    }
    if deleting:
        metadata["deletionTimestamp"] = at(0)
    return Sandbox.from_dict(
        {"metadata": metadata, "spec": spec or {"agentRef": {"name": "coder"}}, "status": status or {}}
    )


FACTS = Facts(
    gateway=GATEWAY,
    budgets={a_budget().key: a_budget()},
    agents={an_agent().key: an_agent(bounds={"runtime": "1m"})},
)


def a_verdict(sandbox: Sandbox, facts: Facts = FACTS) -> Verdict:
    return judge_sandbox(sandbox, facts)


def a_hold(granted_ms: int = 30_000, *, expires_in_ms: int = 25_000, sequence: int = 0, charged_ms: int = 0) -> Hold:
    return Hold("runtime/team-a/run-0f3a9b2c", granted_ms, sequence, NOW_MS + expires_in_ms, charged_ms)


OPEN = Session(
    exists=True,
    attributes={"agent": "team-a/coder", "environment": "container"},
    ended=None,
    hold=a_hold(),
    spent=Amount(),
)


def a_pod(
    *,
    phase: str = "Pending",
    waiting: tuple[str, str] | None = None,
    started: float | None = None,
    exited: tuple[int, float] | None = None,
    unschedulable: str | None = None,
    deleting: bool = False,
    created: float = -5,
    reason: str = "",
    message: str = "",
) -> Pod:
    """`started` is seconds from NOW; `exited` is (code, seconds from NOW)."""
    state = ContainerState()
    if exited is not None:
        began = at(started) if started is not None else None
        state = ContainerState(terminated=Terminated(exited[0], started_at=began, finished_at=at(exited[1])))
    elif started is not None:
        state = ContainerState(running=Running(at(started)))
    elif waiting is not None:
        state = ContainerState(waiting=Waiting(*waiting))
    scheduled = PodCondition("PodScheduled", "True", last_transition_time=at(created))
    if unschedulable is not None:
        scheduled = PodCondition("PodScheduled", "False", "Unschedulable", unschedulable)
    return Pod(
        metadata=Meta(
            name="run-0f3a9b2c",
            namespace="team-a",
            uid="pod-uid",
            creation_timestamp=at(created),
            deletion_timestamp=at(0) if deleting else None,
            owner_references=(Owner("Sandbox", "run", UID),),
        ),
        spec=PodSpec(node_name="" if unschedulable else "node-1"),
        status=PodStatus(
            phase=phase,
            reason=reason,
            message=message,
            conditions=(scheduled,),
            container_statuses=(ContainerStatus("sandbox", state),),
        ),
    )


def a_snapshot(sandbox: Sandbox | None = None, **changes: Any) -> Snapshot:
    """An accepted Sandbox with an open session and its first slice, and no Pod yet."""
    sandbox = sandbox or a_sandbox()
    snapshot = Snapshot(
        sandbox=sandbox,
        verdict=a_verdict(sandbox),
        cluster=CLUSTER,
        session=OPEN,
        pod=None,
        last_pod=None,
        looked=False,
        has_policy=False,
        has_token=False,
        refused=None,
        ledger=None,
        denial=None,
        stopped_for=None,
        told_to_stop=False,
    )
    return replace(snapshot, **changes)
