"""What is done about a Sandbox, step by step: values in, plan out."""

from dataclasses import replace
from typing import Any

import pytest

from ambit.api.conditions import ConditionType, find
from ambit.api.sandbox import SandboxStatus
from ambit.control.obstacles import Obstacle
from ambit.control.reconcilers.sandbox.decide import decide
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
from ambit.control.reconcilers.sandbox.state import Ending, Session, Snapshot
from ambit.ledger.amounts import Amount
from ambit.policy import Facts
from ambit.telemetry.reasons import Progress, SessionEnd
from tests.control.builders import (
    NOW_MS,
    OPEN,
    a_hold,
    a_pod,
    a_sandbox,
    a_snapshot,
    a_verdict,
    at,
)
from tests.policy.builders import GATEWAY

PATH = "session/team-a/run-0f3a9b2c"
NONE_YET = Session(exists=False, attributes={}, ended=None, hold=None, spent=Amount())
KILLED = Ending(SessionEnd.KILLED, "by alice")


def kinds(plan: Plan) -> list[type[Action]]:
    return [type(action) for action in plan.actions]


def status(plan: Plan) -> SandboxStatus:
    assert plan.status is not None, plan
    return plan.status


def said(plan: Plan, condition: ConditionType = ConditionType.READY) -> tuple[str, str, str]:
    found = find(status(plan).conditions, condition)
    assert found is not None
    return found.status.value, found.reason, found.message


# -- the start: nothing runs before it is guarded, accounted, held and fenced in ------------------


@pytest.mark.parametrize(
    ("snapshot", "expected"),
    [
        pytest.param(a_snapshot(a_sandbox(finalizers=())), [AddFinalizer], id="the finalizer before anything outside"),
        pytest.param(a_snapshot(session=None), [LookUpSession], id="ask the ledger what is there"),
        pytest.param(a_snapshot(session=NONE_YET), [OpenSession], id="the account before the runtime"),
        pytest.param(a_snapshot(session=replace(OPEN, hold=None)), [HoldRuntime], id="the runtime before the Pod"),
        pytest.param(a_snapshot(), [CreatePolicy, CreatePod], id="the policy before the Pod"),
        pytest.param(a_snapshot(has_policy=True), [CreatePod], id="the Pod alone where the policy is there"),
        pytest.param(a_snapshot(pod=a_pod()), [CreateToken], id="the token for the Pod that waits for it"),
    ],
)
def test_the_steps_of_a_start(snapshot: Snapshot, expected: list[type[Action]]) -> None:
    assert kinds(decide(snapshot, NOW_MS)) == expected


def test_the_first_slice_is_thirty_seconds_and_at_least_one() -> None:
    [action] = decide(a_snapshot(session=replace(OPEN, hold=None)), NOW_MS).actions
    assert isinstance(action, HoldRuntime)
    assert action.operation.id == "runtime/team-a/run-0f3a9b2c"
    assert action.operation.path == PATH
    assert (action.operation.want.runtime_ms, action.operation.at_least.runtime_ms) == (30_000, 1_000)


def test_a_session_is_opened_under_its_agent_with_the_agents_bounds() -> None:
    [action] = decide(a_snapshot(session=NONE_YET), NOW_MS).actions
    assert isinstance(action, OpenSession)
    assert action.operation.parent == "agent/team-a/coder"
    assert {(limit.resource.value, limit.amount) for limit in action.operation.limits} == {
        ("usd", 5_000_000_000),
        ("tokens", 2_000_000),
        ("modelCalls", 100),
        ("runtime", 60_000),
    }


def test_what_policy_denies_is_said_and_nothing_is_begun() -> None:
    sandbox = a_sandbox(finalizers=())
    plan = decide(a_snapshot(sandbox, verdict=a_verdict(sandbox, Facts(gateway=GATEWAY)), session=None), NOW_MS)
    assert plan.actions == ()
    assert said(plan)[:2] == ("False", "AgentNotFound")
    assert said(plan, ConditionType.ACCEPTED)[:2] == ("False", "AgentNotFound")


def test_while_nothing_runs_the_holds_expiry_is_moved_and_nothing_is_charged() -> None:
    held = replace(OPEN, hold=a_hold(expires_in_ms=9_000, sequence=3))
    for pod in (None, a_pod(waiting=("ContainerCreating", ""))):
        [action] = decide(a_snapshot(session=held, pod=pod, has_token=True), NOW_MS).actions
        assert isinstance(action, ExtendRuntime)
        assert (action.extension.want_ms, action.extension.sequence) == (0, 4)


def test_a_session_that_was_opened_for_something_else_is_not_run() -> None:
    foreign = replace(OPEN, attributes={"agent": "team-a/coder", "environment": "isolate"})
    [action] = decide(a_snapshot(session=foreign, looked=True), NOW_MS).actions[:1]
    assert isinstance(action, CloseSession)
    assert action.ending.reason is SessionEnd.START_FAILED


# -- what keeps it from starting ------------------------------------------------------------------

REFUSED = Obstacle(Progress.REFUSED, 'pods "run" is forbidden: exceeded quota: small')


@pytest.mark.parametrize(
    ("changes", "reason", "message"),
    [
        ({"refused": REFUSED}, "Refused", 'pods "run" is forbidden: exceeded quota: small'),
        ({"cluster": None}, "Creating", "Service ambit-gateway has no cluster IP yet"),
        (
            {"session": NONE_YET, "ledger": Obstacle(Progress.ACCOUNT_PENDING, "not yet")},
            "AccountPending",
            "not yet",
        ),
        (
            {"session": replace(OPEN, hold=None), "ledger": Obstacle(Progress.WAITING_FOR_ROOM, "held by others")},
            "WaitingForRoom",
            "held by others",
        ),
        ({"pod": a_pod(unschedulable="0/3 nodes are available")}, "Scheduling", "0/3 nodes are available"),
        (
            {"pod": a_pod(waiting=("ErrImagePull", "no such image"))},
            "ImagePullFailed",
            "image registry.example/coder:1.4: no such image",
        ),
        (
            {"pod": a_pod(waiting=("CreateContainerConfigError", 'secret "x" not found'))},
            "ContainerFailed",
            'CreateContainerConfigError: secret "x" not found',
        ),
        ({"pod": a_pod(waiting=("ContainerCreating", ""))}, "Starting", ""),
    ],
)
def test_what_stands_in_the_way_is_said_in_its_own_words(changes: dict[str, Any], reason: str, message: str) -> None:
    plan = decide(a_snapshot(has_token=True, **changes), NOW_MS)
    assert plan.actions == ()
    assert said(plan) == ("False", reason, message)
    assert plan.look_again_in_ms is not None


@pytest.mark.parametrize(
    ("pod", "refused", "ends"),
    [
        pytest.param(
            a_pod(waiting=("ErrImagePull", "no"), created=-59), None, False, id="a failing image, for a minute"
        ),
        pytest.param(a_pod(waiting=("ErrImagePull", "no"), created=-60), None, True, id="and then no more"),
        pytest.param(a_pod(waiting=("InvalidImageName", "no"), created=0), None, True, id="a name that never can be"),
        pytest.param(a_pod(unschedulable="full", created=-299), None, False, id="no node, for the start timeout"),
        pytest.param(a_pod(unschedulable="full", created=-300), None, True, id="and then no more"),
        pytest.param(None, REFUSED, False, id="a quota that may free up"),
        pytest.param(None, replace(REFUSED, final=True), True, id="a Pod that is invalid"),
    ],
)
def test_a_start_is_given_up_when_it_cannot_succeed_or_took_too_long(pod: Any, refused: Any, ends: bool) -> None:
    plan = decide(a_snapshot(pod=pod, refused=refused, has_token=True, looked=True), NOW_MS)
    endings = [action.ending.reason for action in plan.actions if isinstance(action, CloseSession)]
    assert endings == ([SessionEnd.START_FAILED] if ends else [])


def test_a_refused_first_slice_ends_the_session_before_it_started() -> None:
    exhausted = Obstacle(Progress.LIMIT_EXHAUSTED, "budget/team-a/default: Day runtime: 1h of 1h spent", final=True)
    unheld = replace(OPEN, hold=None)
    plan = decide(a_snapshot(session=unheld, ledger=exhausted, looked=True), NOW_MS)
    [close] = plan.actions
    assert isinstance(close, CloseSession)
    assert close.ending == Ending(SessionEnd.RUNTIME_EXHAUSTED, exhausted.message)
    ended = replace(unheld, ended=close.ending)
    plan = decide(a_snapshot(session=ended, looked=True), NOW_MS)
    assert said(plan, ConditionType.WITHIN_BUDGET)[:2] == ("False", "LimitExhausted")


# -- the run --------------------------------------------------------------------------------------


def running(granted_ms: int, started: float, *, expires_in_ms: int = 60_000, **changes: Any) -> Snapshot:
    held = replace(OPEN, hold=a_hold(granted_ms, expires_in_ms=expires_in_ms))
    return a_snapshot(pod=a_pod(phase="Running", started=started), session=held, **changes)


def test_a_running_sandbox_is_ready_and_looked_at_when_its_slice_is_to_be_renewed() -> None:
    plan = decide(running(30_000, started=-5), NOW_MS)
    assert said(plan) == ("True", "Running", "")
    assert plan.look_again_in_ms == 15_000
    assert status(plan).started_at == at(-5)
    startup = status(plan).startup
    assert startup is not None
    assert (startup.placed_ms, startup.started_ms) == (5_000, 5_000)


def test_the_slice_is_renewed_when_ten_seconds_are_left() -> None:
    assert kinds(decide(running(30_000, started=-19), NOW_MS)) == []
    [action] = decide(running(30_000, started=-20), NOW_MS).actions
    assert isinstance(action, ExtendRuntime)
    assert (action.extension.want_ms, action.extension.at_least_ms) == (30_000, 1_000)
    assert action.extension.expires_in_ms >= 40_000
    assert action.extension.deadline_ms == 6_000, "an answer must come before the container is to be stopped"


def test_a_hold_made_before_the_start_is_made_to_outlive_its_slice() -> None:
    [action] = decide(running(30_000, started=0, expires_in_ms=12_000), NOW_MS).actions
    assert isinstance(action, ExtendRuntime)
    assert action.extension.want_ms == 0
    assert action.extension.expires_in_ms >= 30_000


def test_when_what_is_held_is_used_up_the_pod_is_stopped_and_the_session_closed() -> None:
    refusal = "session/team-a/run: Lifetime runtime: 1m of 1m spent"
    snapshot = running(30_000, started=-26, denial=refusal)
    stop, close = decide(snapshot, NOW_MS).actions
    assert isinstance(stop, StopPod)
    assert isinstance(close, CloseSession)
    assert close.ending == Ending(SessionEnd.RUNTIME_EXHAUSTED, refusal)
    assert kinds(decide(running(30_000, started=-25), NOW_MS)) == [ExtendRuntime]


def test_no_answer_of_the_ledger_stops_nothing_while_something_is_held() -> None:
    away = Obstacle(Progress.LEDGER_AWAY, "no answer")
    plan = decide(running(30_000, started=-22, ledger=away), NOW_MS)
    assert plan.actions == ()
    assert said(plan) == ("True", "Running", "")
    assert plan.look_again_in_ms == 1_000
    assert kinds(decide(running(30_000, started=-26, ledger=away), NOW_MS)) == [StopPod, CloseSession]


def test_a_container_that_runs_unheld_is_held_anew_or_stopped() -> None:
    expired = replace(OPEN, hold=None, spent=Amount(runtime_ms=30_000))
    pod = a_pod(phase="Running", started=-35)
    [action] = decide(a_snapshot(pod=pod, session=expired), NOW_MS).actions
    assert isinstance(action, HoldRuntime)
    assert action.operation.id == "runtime/team-a/run-0f3a9b2c/30000"
    for obstacle in (Progress.WAITING_FOR_ROOM, Progress.LEDGER_AWAY, Progress.LIMIT_EXHAUSTED):
        plan = decide(a_snapshot(pod=pod, session=expired, ledger=Obstacle(obstacle, "no")), NOW_MS)
        assert kinds(plan) == [StopPod, CloseSession], obstacle


def test_a_pod_that_has_started_needs_no_token_again() -> None:
    assert CreateToken not in kinds(decide(running(30_000, started=-5, has_token=False), NOW_MS))


# -- the end --------------------------------------------------------------------------------------


def test_a_kill_at_the_ledger_stops_the_pod_at_once() -> None:
    [stop] = decide(running_killed(), NOW_MS).actions
    assert isinstance(stop, StopPod)
    assert (stop.name, stop.uid) == ("run-0f3a9b2c", "pod-uid")


def running_killed(**changes: Any) -> Snapshot:
    return a_snapshot(pod=a_pod(phase="Running", started=-5), session=replace(OPEN, ended=KILLED), **changes)


def test_nothing_is_settled_or_finished_while_the_pod_still_stops() -> None:
    stopping = a_pod(phase="Running", started=-5, deleting=True)
    plan = decide(a_snapshot(pod=stopping, session=replace(OPEN, ended=KILLED)), NOW_MS)
    assert plan.actions == ()
    assert said(plan)[:2] == ("False", "Stopping")
    assert find(status(plan).conditions, ConditionType.FINISHED) is None


@pytest.mark.parametrize(
    ("pod", "stopped_for", "reason"),
    [
        pytest.param(a_pod(phase="Succeeded", started=-9, exited=(0, -1)), None, "Completed", id="exit 0"),
        pytest.param(a_pod(phase="Failed", started=-9, exited=(3, -1)), None, "Failed", id="exit 3"),
        pytest.param(
            a_pod(phase="Failed", started=-9, exited=(137, -1), deleting=True), None, "HostLost", id="deleted by others"
        ),
        pytest.param(
            a_pod(phase="Failed", started=-9, exited=(137, -1), deleting=True),
            Ending(SessionEnd.RUNTIME_EXHAUSTED, "spent"),
            "RuntimeExhausted",
            id="stopped by us",
        ),
        pytest.param(a_pod(phase="Failed", reason="Evicted", message="disk"), None, "Failed", id="evicted"),
        pytest.param(a_pod(phase="Failed", reason="NodeShutdown"), None, "HostLost", id="the node shut down"),
        pytest.param(
            a_pod(phase="Failed", started=-99, exited=(137, -1), reason="DeadlineExceeded"),
            None,
            "RuntimeExhausted",
            id="the kubelet's backstop",
        ),
        pytest.param(a_pod(phase="Failed", exited=(128, -1)), None, "StartFailed", id="never started"),
    ],
)
def test_how_a_pod_ended_becomes_the_sessions_reason(pod: Any, stopped_for: Any, reason: str) -> None:
    plan = decide(a_snapshot(pod=pod, stopped_for=stopped_for), NOW_MS)
    assert [action.ending.reason for action in plan.actions if isinstance(action, CloseSession)] == [reason]


def test_the_end_is_close_then_settle_then_finished() -> None:
    pod = a_pod(phase="Succeeded", started=-9, exited=(0, -1))
    close, settle = decide(a_snapshot(pod=pod), NOW_MS).actions
    assert isinstance(close, CloseSession)
    assert isinstance(settle, SettleRuntime)
    assert settle.used_ms == 9_000, "eight seconds by the kubelet's clock, and the one that it cut off"
    closed = replace(
        OPEN,
        hold=None,
        ended=close.ending,
        spent=Amount(usd_nanos=9_000_000, tokens=12, model_calls=2, runtime_ms=9_000),
    )
    plan = decide(a_snapshot(pod=pod, session=closed), NOW_MS)
    assert said(plan, ConditionType.FINISHED)[:2] == ("True", "Completed")
    assert said(plan)[:2] == ("False", "Completed")
    done = status(plan)
    assert (done.exit_code, done.reason, done.finished_at) == (0, "Completed", at(-1))
    assert done.usage is not None
    assert (done.usage.usd, done.usage.tokens, done.usage.model_calls, done.usage.runtime) == ("0.009", "12", "2", "9s")


def test_a_pod_that_vanished_ends_the_session_and_is_charged_for_what_it_can_have_used() -> None:
    seen = a_pod(phase="Running", started=-8)
    close, settle = decide(a_snapshot(last_pod=seen, looked=True), NOW_MS).actions
    assert isinstance(close, CloseSession)
    assert close.ending.reason is SessionEnd.HOST_LOST
    assert isinstance(settle, SettleRuntime)
    assert settle.used_ms == 8_000


@pytest.mark.parametrize(
    ("known", "used_ms"),
    [
        pytest.param({"podName": "run-0f3a9b2c", "startedAt": at(-8)}, 8_000, id="it is known when it started"),
        pytest.param({"podName": "run-0f3a9b2c", "startedAt": at(-80)}, 30_000, id="no more than was held"),
        pytest.param({"podName": "run-0f3a9b2c"}, 30_000, id="unknown use charges the hold"),
    ],
)
def test_a_pod_that_vanished_while_no_operator_ran(known: dict[str, str], used_ms: int) -> None:
    _, settle = decide(a_snapshot(a_sandbox(status=known), looked=True), NOW_MS).actions
    assert isinstance(settle, SettleRuntime)
    assert settle.used_ms == used_ms


def finished(reason: str = "Completed", ago: float = -10) -> dict[str, Any]:
    condition = {"type": "Finished", "status": "True", "reason": reason, "lastTransitionTime": at(ago)}
    return {"conditions": [condition], "podName": "run-0f3a9b2c", "reason": reason}


def test_a_finished_sandbox_lets_its_finalizer_go_and_then_waits_for_its_time() -> None:
    assert kinds(decide(a_snapshot(a_sandbox(status=finished()), looked=True), NOW_MS)) == [RemoveFinalizer]
    spec = {"agentRef": {"name": "coder"}, "ttlAfterFinished": "30s"}
    waits = decide(a_snapshot(a_sandbox(spec=spec, status=finished(), finalizers=())), NOW_MS)
    assert (waits.actions, waits.status, waits.look_again_in_ms) == ((), None, 20_000)
    over = decide(a_snapshot(a_sandbox(spec=spec, status=finished(ago=-30), finalizers=())), NOW_MS)
    assert kinds(over) == [DeleteSandbox]


# -- a Pod that the watch does not show: it may have been silent ----------------------------------

LEFT_RUNNING = a_pod(phase="Running", started=-5)
LEFT_STOPPING = a_pod(phase="Running", started=-5, deleting=True)
LEFT_OVER = a_pod(phase="Succeeded", started=-9, exited=(0, -1))


@pytest.mark.parametrize(
    "snapshot",
    [
        pytest.param(a_snapshot(last_pod=a_pod()), id="before its Pod is declared lost"),
        pytest.param(a_snapshot(a_sandbox(status={"podName": "run-0f3a9b2c"})), id="the same after a restart"),
        pytest.param(a_snapshot(session=replace(OPEN, ended=KILLED)), id="before a killed session is settled"),
        pytest.param(a_snapshot(a_sandbox(deleting=True)), id="before a deleted one is settled"),
        pytest.param(
            a_snapshot(a_sandbox(deleting=True), session=replace(OPEN, ended=KILLED, hold=None)),
            id="before a deleted one lets its finalizer go",
        ),
        pytest.param(a_snapshot(a_sandbox(status=finished())), id="before a finished one lets its finalizer go"),
        pytest.param(
            a_snapshot(a_sandbox(status=finished(), deleting=True), session=replace(OPEN, ended=KILLED, hold=None)),
            id="before a finished and deleted one does",
        ),
    ],
)
def test_the_apiserver_itself_is_asked_for_the_pod(snapshot: Snapshot) -> None:
    plan = decide(snapshot, NOW_MS)
    assert plan == Plan((LookAtPod("run-0f3a9b2c"),))


def test_a_pod_that_the_watch_was_late_with_goes_on() -> None:
    found = a_snapshot(pod=LEFT_RUNNING, looked=True, has_token=True)
    plan = decide(found, NOW_MS)
    assert said(plan) == ("True", "Running", "")


@pytest.mark.parametrize("finalizers", [("ambit.dev/session-account",), ()])
@pytest.mark.parametrize(
    ("pod", "told", "guarded", "unguarded"),
    [
        pytest.param(LEFT_RUNNING, False, [StopPod], [StopPod], id="one that runs is stopped"),
        pytest.param(LEFT_RUNNING, True, [], [], id="once in a pass"),
        pytest.param(LEFT_STOPPING, False, [], [], id="one that stops is waited for"),
        pytest.param(LEFT_OVER, False, [RemoveFinalizer], [], id="one that has ended is kept for its log"),
    ],
)
def test_a_finished_sandbox_leaves_no_pod_running(
    finalizers: tuple[str, ...], pod: Any, told: bool, guarded: list[type[Action]], unguarded: list[type[Action]]
) -> None:
    sandbox = a_sandbox(status=finished(), finalizers=finalizers)
    plan = decide(a_snapshot(sandbox, pod=pod, told_to_stop=told), NOW_MS)
    assert kinds(plan) == (guarded if finalizers else unguarded)
    assert plan.actions or plan.look_again_in_ms is not None


def test_a_deleted_sandbox_keeps_its_finalizer_while_its_pod_is_there() -> None:
    settled = replace(OPEN, ended=KILLED, hold=None)
    for pod in (LEFT_RUNNING, LEFT_OVER):
        for status_ in ({}, finished()):
            snapshot = a_snapshot(a_sandbox(status=status_, deleting=True), pod=pod, session=settled)
            assert kinds(decide(snapshot, NOW_MS)) == [StopPod]
            waits = decide(replace(snapshot, told_to_stop=True), NOW_MS)
            assert (waits.actions, waits.look_again_in_ms) == ((), 5_000)


# -- deletion --------------------------------------------------------------------------------------


def test_deletion_stops_closes_settles_and_only_then_lets_go() -> None:
    sandbox = a_sandbox(deleting=True)
    pod = a_pod(phase="Running", started=-5)
    assert kinds(decide(a_snapshot(sandbox, pod=pod), NOW_MS)) == [StopPod, CloseSession]
    ended = replace(OPEN, ended=Ending(SessionEnd.KILLED, "the Sandbox was deleted"))
    stopping = a_pod(phase="Running", started=-5, deleting=True)
    assert decide(a_snapshot(sandbox, pod=stopping, session=ended), NOW_MS).actions == ()
    assert kinds(decide(a_snapshot(sandbox, last_pod=stopping, looked=True, session=ended), NOW_MS)) == [SettleRuntime]
    settled = a_snapshot(sandbox, last_pod=stopping, looked=True, session=replace(ended, hold=None))
    assert kinds(decide(settled, NOW_MS)) == [RemoveFinalizer]


def test_a_sandbox_that_never_began_is_let_go_at_once() -> None:
    never_began = a_snapshot(a_sandbox(deleting=True), looked=True, session=NONE_YET)
    assert kinds(decide(never_began, NOW_MS)) == [RemoveFinalizer]
    assert decide(a_snapshot(a_sandbox(deleting=True, finalizers=()), session=None), NOW_MS) == Plan()


# -- rest -------------------------------------------------------------------------------------------


def test_a_second_look_at_the_same_things_changes_no_status() -> None:
    for snapshot in (
        running(30_000, started=-5),
        a_snapshot(refused=REFUSED),
        a_snapshot(pod=a_pod(waiting=("ErrImagePull", "no")), has_token=True),
    ):
        first = status(decide(snapshot, NOW_MS))
        sandbox = snapshot.sandbox.model_copy(update={"status": first})
        assert status(decide(replace(snapshot, sandbox=sandbox), NOW_MS + 1_500)) == first
