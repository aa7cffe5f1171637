"""What to do about one Sandbox, and what its status is. Pure.

A Sandbox is one run: account and finalizer first, then a slice of runtime, then NetworkPolicy, Pod and token, in this
order, so that nothing ever runs unheld, unnamed or uncovered. Whatever the cause of its end (`ending`), the session is
closed, the Pod stopped, the runtime settled, and only then is it finished. Since the watch may be silent for minutes, a
Pod that it does not show is taken to be gone only after the apiserver itself was asked.

The ledger keeps why a session ended, so a decision may be made anew by a process that knows nothing but what it sees.
"""

from ambit.api import names
from ambit.api.conditions import ConditionType, find
from ambit.api.quantities import parse_duration_ms
from ambit.control.accounts import ledger_limits
from ambit.control.objects import Pod, instant_ms
from ambit.control.obstacles import Obstacle
from ambit.control.reconcilers.sandbox import manifests, runtime
from ambit.control.reconcilers.sandbox.ending import ending_now, pod_obstacle, started
from ambit.control.reconcilers.sandbox.observe import Run, run_of
from ambit.control.reconcilers.sandbox.plan import (
    Action,
    AddFinalizer,
    CloseSession,
    CreatePod,
    CreatePolicy,
    CreateToken,
    DeleteSandbox,
    ExtendRuntime,
    HoldRuntime,
    LookAtPod,
    LookUpSession,
    OpenSession,
    Plan,
    RemoveFinalizer,
    SettleRuntime,
    StopPod,
)
from ambit.control.reconcilers.sandbox.state import Ending, Session, Snapshot, container_of
from ambit.control.reconcilers.sandbox.status import status_of
from ambit.ledger import wire
from ambit.ledger.amounts import Amount
from ambit.policy import Allowed, Denied, SessionPolicy, runtime_slices
from ambit.telemetry.reasons import Progress, SessionEnd

SESSION_GRACE_MS = 120_000
"""A session that nobody holds anything for ends by itself after so long, reason Abandoned."""
LOOK_AGAIN_MS = 5_000
MS_PER_DAY = 86_400_000


def decide(s: Snapshot, now_ms: int) -> Plan:
    """The next actions, or the status when there is nothing to do but wait."""
    meta = s.sandbox.metadata
    deleting = meta.deletion_timestamp is not None
    guarded = names.SESSION_FINALIZER in meta.finalizers
    if not guarded:
        return _unguarded(s, now_ms, deleting=deleting)
    if _finished(s) and not deleting:
        return _finished_but_guarded(s)
    if s.session is None:
        return Plan((LookUpSession(_path(s)),))
    ending = ending_now(s, now_ms)
    if ending is not None:
        if _unseen(s):
            return _look_at_pod(s)
        return _end(s, s.session, ending, now_ms, deleting=deleting)
    return _run(s, s.session, now_ms) if s.pod is not None else _start(s, s.session, now_ms)


# -- before and after ------------------------------------------------------


def _unguarded(s: Snapshot, now_ms: int, *, deleting: bool) -> Plan:
    """Nothing has begun, or all has been ended."""
    if deleting:
        return Plan()
    if _finished(s):
        return _left_running(s) or _finished_plan(s, now_ms)
    if isinstance(s.verdict, Denied):
        return Plan(status=status_of(s, Run(), None, None, now_ms))
    return Plan((AddFinalizer(),))


def _finished_but_guarded(s: Snapshot) -> Plan:
    """All is settled; the finalizer stays until nothing can run any more. The rest goes with the Sandbox by itself."""
    if left := _left_running(s):
        return left
    return _look_at_pod(s) if _unseen(s) else Plan((RemoveFinalizer(),))


def _left_running(s: Snapshot) -> Plan | None:
    """A Pod that came to be seen only after its Sandbox had finished is stopped: nobody pays for it."""
    if s.pod is None or run_of(s.pod).over:
        return None
    if s.told_to_stop or s.pod.metadata.deletion_timestamp is not None:
        return Plan(look_again_in_ms=LOOK_AGAIN_MS)
    ending = Ending(SessionEnd.KILLED, "its Sandbox had finished before it was seen")
    return Plan((StopPod(s.pod.metadata.name, s.pod.metadata.uid, ending),))


def _unseen(s: Snapshot) -> bool:
    """Whether no Pod is shown, and the apiserver itself has not yet said that there is none."""
    return s.pod is None and not s.looked


def _look_at_pod(s: Snapshot) -> Plan:
    return Plan((LookAtPod(manifests.session_id(s.sandbox)),))


def _finished_plan(s: Snapshot, now_ms: int) -> Plan:
    """Kept for its time, then deleted."""
    finished = find(s.sandbox.status.conditions, ConditionType.FINISHED)
    if finished is None:
        raise AssertionError("called only for a finished Sandbox")
    left_ms = instant_ms(finished.last_transition_time) + parse_duration_ms(s.sandbox.spec.ttl_after_finished) - now_ms
    if left_ms <= 0:
        return Plan((DeleteSandbox(),))
    return Plan(look_again_in_ms=min(left_ms, MS_PER_DAY))


def _finished(s: Snapshot) -> bool:
    return find(s.sandbox.status.conditions, ConditionType.FINISHED) is not None


# -- the start ---------------------------------------------------------------


def _start(s: Snapshot, session: Session, now_ms: int) -> Plan:
    """Account, runtime, NetworkPolicy, Pod, in this order."""
    if isinstance(s.verdict, Denied) or s.cluster is None:
        return _wait(s, now_ms)
    policy = s.verdict.policy
    if not session.exists:
        return _unless_ledger_refused(s, OpenSession(_open(s, policy)), now_ms)
    if session.hold is None:
        return _unless_ledger_refused(s, _first_hold(s), now_ms)
    outlook = runtime.outlook(session.hold, None, now_ms)
    if outlook.extension is not None and s.ledger is None:
        return Plan((ExtendRuntime(outlook.extension),))
    if s.refused is not None:
        return _wait(s, now_ms)
    name = manifests.session_id(s.sandbox)
    actions: list[Action] = []
    if not s.has_policy:
        actions.append(CreatePolicy(manifests.network_policy(s.sandbox, name, s.cluster)))
    container, bound_ms = container_of(policy), policy.bounds.runtime_ms
    actions.append(CreatePod(manifests.pod(s.sandbox, name, container, bound_ms, s.cluster)))
    return Plan(tuple(actions))


def _unless_ledger_refused(s: Snapshot, action: Action, now_ms: int) -> Plan:
    """An action at the ledger, unless it has just been in vain: then wait, and try at the next look."""
    return Plan((action,)) if s.ledger is None else _wait(s, now_ms)


def _wait(s: Snapshot, now_ms: int) -> Plan:
    return Plan(
        status=status_of(s, Run(), None, _obstacle(s), now_ms),
        look_again_in_ms=runtime_slices.ASK_AGAIN_MS if s.ledger else LOOK_AGAIN_MS,
    )


def _first_hold(s: Snapshot) -> HoldRuntime:
    return _hold(s, charged_ms=s.session.spent.runtime_ms if s.session else 0)


def _hold(s: Snapshot, charged_ms: int) -> HoldRuntime:
    session = manifests.session_id(s.sandbox)
    operation = wire.Reserve(
        id=runtime_slices.hold_id(s.sandbox.metadata.namespace, session, charged_ms),
        path=_path(s),
        want=Amount(runtime_ms=runtime_slices.SLICE_MS),
        at_least=Amount(runtime_ms=runtime_slices.AT_LEAST_MS),
        expires_in_ms=runtime_slices.SLICE_MS,
    )
    return HoldRuntime(operation, charged_ms)


def _open(s: Snapshot, policy: SessionPolicy) -> wire.Open:
    attributes = {
        names.ENVIRONMENT_ATTRIBUTE: names.CONTAINER,
        names.USER_ATTRIBUTE: "operator",
        names.SANDBOX_ATTRIBUTE: s.sandbox.metadata.name,
    }
    if s.sandbox.spec.agent_ref is not None:
        attributes[names.AGENT_ATTRIBUTE] = f"{s.sandbox.metadata.namespace}/{s.sandbox.spec.agent_ref.name}"
    return wire.Open(
        path=_path(s),
        parent=policy.account_parent,
        grace_ms=SESSION_GRACE_MS,
        limits=ledger_limits(policy.limits),
        attributes=attributes,
        user=s.sandbox.spec.user or "",
        labels=s.sandbox.spec.usage_labels or {},
    )


# -- the run -----------------------------------------------------------------


def _run(s: Snapshot, session: Session, now_ms: int) -> Plan:
    """The Pod is there and not over: its token, its runtime, its status."""
    pod = s.pod
    if pod is None:
        raise AssertionError("called only with a Pod")
    run = run_of(pod)
    needs_token = run.started_at_ms is None and not s.has_token  # what has started has had it
    if needs_token and s.refused is None and isinstance(s.verdict, Allowed):
        return Plan((CreateToken(pod.metadata.uid, s.verdict.policy.bounds.runtime_ms),))
    status = status_of(s, run, None, _obstacle(s), now_ms)
    if session.hold is None:
        # It expired while no operator ran, and was charged: go on under another, or end when that is refused.
        if s.ledger is not None:
            return Plan(status=status, look_again_in_ms=runtime_slices.ASK_AGAIN_MS)
        return Plan((_hold(s, charged_ms=session.spent.runtime_ms),))
    outlook = runtime.outlook(session.hold, run.started_at_ms, now_ms)
    if outlook.extension is not None and s.ledger is None:
        return Plan((ExtendRuntime(outlook.extension),))
    again_ms = runtime_slices.ASK_AGAIN_MS if s.ledger is not None else outlook.look_again_in_ms
    if run.started_at_ms is None:
        again_ms = min(again_ms, LOOK_AGAIN_MS)
    return Plan(status=status, look_again_in_ms=max(again_ms, 1))


def _obstacle(s: Snapshot) -> Obstacle | None:
    """The obstacle that is named in `Ready`: the nearest to the container."""
    if s.pod is not None:
        return None if started(s) else s.refused or pod_obstacle(s) or s.ledger
    if s.refused is not None or s.ledger is not None:
        return s.refused or s.ledger
    if s.cluster is None:
        return Obstacle(Progress.CREATING, f"Service {names.GATEWAY} has no cluster IP yet")
    return None


# -- the end -------------------------------------------------------------------


def _end(s: Snapshot, session: Session, ending: Ending, now_ms: int, *, deleting: bool) -> Plan:
    """Close, stop, settle, then say so; a deletion goes on once nothing is left."""
    run = run_of(s.pod) if s.pod is not None else _run_of_gone(s)
    actions: list[Action] = []
    if s.pod is not None and not s.told_to_stop and _to_be_stopped(s.pod, run, ending, deleting=deleting):
        actions.append(StopPod(s.pod.metadata.name, s.pod.metadata.uid, ending))
    if session.exists and session.ended is None:
        actions.append(CloseSession(_path(s), ending))
    gone = s.pod is None or run.over
    if gone and session.hold is not None:
        actions.append(SettleRuntime(session.hold.id, _used_ms(s, session.hold, run, now_ms)))
    if actions:
        return Plan(tuple(actions))
    if not gone:
        stopping = Obstacle(Progress.STOPPING, f"{ending.reason}: {ending.message}")
        return Plan(status=status_of(s, run, None, stopping, now_ms), look_again_in_ms=LOOK_AGAIN_MS)
    if deleting:
        return Plan((RemoveFinalizer(),)) if s.pod is None else Plan(look_again_in_ms=LOOK_AGAIN_MS)
    return Plan(status=status_of(s, run, ending, None, now_ms), look_again_in_ms=LOOK_AGAIN_MS)


def _to_be_stopped(pod: Pod, run: Run, ending: Ending, *, deleting: bool) -> bool:
    """A finished Pod is kept, for its log, until its Sandbox goes; a killed one is not."""
    if pod.metadata.deletion_timestamp is not None:
        return False
    return deleting or not run.over or ending.reason in (SessionEnd.KILLED, SessionEnd.ABANDONED)


def _run_of_gone(s: Snapshot) -> Run:
    """What is still known of a Pod that is not there."""
    if s.last_pod is not None:
        return run_of(s.last_pod)
    started = s.sandbox.status.started_at
    return Run(started_at_ms=instant_ms(started) if started else None)


def _used_ms(s: Snapshot, hold: runtime.Hold, run: Run, now_ms: int) -> int:
    """The runtime to charge to `hold`. Where the end, or even the start, was not seen, all that is held is charged."""
    if run.finished_at_ms is None and s.pod is None:
        if run.started_at_ms is not None:
            return max(min(runtime.ran_ms(run.started_at_ms, now_ms), hold.covers_ms) - hold.charged_ms, 0)
        never_seen = s.last_pod is None and s.sandbox.status.pod_name is not None
        return hold.granted_ms if never_seen else 0
    return max(runtime.used_ms(run.started_at_ms, run.finished_at_ms, now_ms) - hold.charged_ms, 0)


# -- shorthands ------------------------------------------------------------------


def _path(s: Snapshot) -> str:
    return names.session_path(s.sandbox.metadata.namespace, manifests.session_id(s.sandbox))
