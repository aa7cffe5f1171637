"""A Sandbox's status: conditions from an ordered chain of causes, the nearest to the user first. Pure.

Progress that passes by itself within moments (a node found, a container being made) is not written: one write when the
Pod is made, one when it runs, one when it has ended.
"""

from datetime import UTC, datetime

from ambit.api.conditions import ConditionStatus, ConditionType, timestamp, with_condition
from ambit.api.quantities import format_count, format_duration_ms, format_usd_nanos
from ambit.api.sandbox import SandboxStatus, SandboxUsage, StartupTimes
from ambit.control.objects import Pod, instant_ms
from ambit.control.obstacles import Obstacle
from ambit.control.reconcilers.sandbox import manifests
from ambit.control.reconcilers.sandbox.observe import Run
from ambit.control.reconcilers.sandbox.state import Ending, Snapshot
from ambit.ledger.amounts import Amount
from ambit.policy import Denied
from ambit.telemetry.reasons import Progress, SessionEnd

TRUE, FALSE = ConditionStatus.TRUE, ConditionStatus.FALSE


def status_of(s: Snapshot, run: Run, ending: Ending | None, obstacle: Obstacle | None, now_ms: int) -> SandboxStatus:
    """The status. `ending` is given only once nothing of the session is left."""
    before = s.sandbox.status
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    generation = s.sandbox.metadata.generation
    conditions = before.conditions
    for kind, status, reason, message in (
        _accepted(s),
        _within_budget(s, ending),
        _ready(s, run, ending, obstacle),
        *_finished(ending),
    ):
        conditions = with_condition(conditions, kind, status, reason, message, generation=generation, now=now)
    begun = s.session is not None
    pod = s.pod or s.last_pod
    settled = run.started_at_ms is not None or run.over or ending is not None
    return before.model_copy(
        update={
            "observed_generation": generation,
            "conditions": conditions,
            "session": manifests.session_id(s.sandbox) if begun else before.session,
            "pod_name": pod.metadata.name if pod is not None else before.pod_name,
            "node": (pod.spec.node_name or None) if pod is not None and settled else before.node,
            "started_at": _instant(run.started_at_ms) or before.started_at,
            "finished_at": before.finished_at if ending is None else _instant(run.finished_at_ms) or timestamp(now),
            "exit_code": before.exit_code if ending is None else run.exit_code,
            "reason": before.reason if ending is None else ending.reason.value,
            "message": before.message if ending is None else ending.message,
            "startup": _startup(s, pod, run) if settled else before.startup,
            "usage": before.usage if ending is None or s.session is None else _usage(s.session.spent),
        }
    )


Said = tuple[ConditionType, ConditionStatus, str, str]


def _accepted(s: Snapshot) -> Said:
    if isinstance(s.verdict, Denied):
        problem = s.verdict.problems[0]
        old = next((c for c in s.sandbox.status.conditions if c.type == ConditionType.ACCEPTED), None)
        if old is not None and old.status is TRUE and s.sandbox.status.pod_name is not None:
            # What was accepted and has begun goes on; what has since come to be wrong concerns the next one.
            return ConditionType.ACCEPTED, TRUE, old.reason, old.message
        return ConditionType.ACCEPTED, FALSE, problem.reason.value, problem.message
    return ConditionType.ACCEPTED, TRUE, Progress.ACCEPTED.value, ""


def _within_budget(s: Snapshot, ending: Ending | None) -> Said:
    exhausted = ending is not None and ending.reason is SessionEnd.RUNTIME_EXHAUSTED
    message = ending.message if ending is not None and exhausted else s.denial
    if message is not None:
        return ConditionType.WITHIN_BUDGET, FALSE, Progress.LIMIT_EXHAUSTED.value, message
    return ConditionType.WITHIN_BUDGET, TRUE, Progress.WITHIN_BUDGET.value, ""


def _ready(s: Snapshot, run: Run, ending: Ending | None, obstacle: Obstacle | None) -> Said:
    if ending is not None:
        return ConditionType.READY, FALSE, ending.reason.value, ending.message
    if obstacle is not None:
        return ConditionType.READY, FALSE, obstacle.reason.value, obstacle.message
    accepted = _accepted(s)
    if accepted[1] is FALSE:
        return ConditionType.READY, FALSE, accepted[2], accepted[3]
    if run.started_at_ms is not None:
        return ConditionType.READY, TRUE, Progress.RUNNING.value, ""
    return ConditionType.READY, FALSE, Progress.STARTING.value, ""


def _finished(ending: Ending | None) -> tuple[Said, ...]:
    if ending is None:
        return ()
    return ((ConditionType.FINISHED, TRUE, ending.reason.value, ending.message),)


def _startup(s: Snapshot, pod: Pod | None, run: Run) -> StartupTimes | None:
    """By the clocks of apiserver and node, which write whole seconds."""
    requested = s.sandbox.metadata.creation_timestamp
    if requested is None:
        return None
    since = instant_ms(requested)

    def after(instant: int | None) -> int | None:
        return None if instant is None else max(instant - since, 0)

    return StartupTimes(
        requested_at=requested,
        placed_ms=after(_became_true(pod, "PodScheduled")),
        started_ms=after(run.started_at_ms),
        ready_ms=after(_became_true(pod, "ContainersReady"))
        or (s.sandbox.status.startup.ready_ms if s.sandbox.status.startup else None),
    )


def _became_true(pod: Pod | None, name: str) -> int | None:
    condition = pod.status.condition(name) if pod is not None else None
    if condition is None or condition.status != "True" or condition.last_transition_time is None:
        return None
    return instant_ms(condition.last_transition_time)


def _usage(spent: Amount) -> SandboxUsage:
    return SandboxUsage(
        usd=format_usd_nanos(spent.usd_nanos),
        tokens=format_count(spent.tokens),
        model_calls=format_count(spent.model_calls),
        runtime=format_duration_ms(spent.runtime_ms),
    )


def _instant(instant_ms_: int | None) -> str | None:
    return None if instant_ms_ is None else timestamp(datetime.fromtimestamp(instant_ms_ / 1000, UTC))
