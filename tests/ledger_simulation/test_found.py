"""What the simulation found, each pinned on the tree alone."""

import msgspec

from ambit.ledger import snapshot, wire
from ambit.ledger.amounts import Amount, Limit, Resource, Window
from ambit.ledger.changes import Adjusted, AnyChange, SessionWoken
from ambit.ledger.history import windows_of
from ambit.ledger.tree import Tree

BEGIN_MS = 1_767_268_800_000
HOUR_MS = 3_600_000
BUDGET, TEAM, SESSION = "budget/n/b", "budget/n/team", "session/n/s"
ONE_CALL = Amount(model_calls=1)


def a_limit(window: Window, amount: int) -> Limit:
    return Limit(window, Resource.MODEL_CALLS, amount)


class Journalled:
    """A tree and all its changes."""

    def __init__(self) -> None:
        self.tree = Tree()
        self.changes: list[AnyChange] = []

    def do(self, op: wire.AnyOperation, at_ms: int, component: str = "gateway") -> wire.AnyResult:
        outcome = self.tree.apply(component, op, at_ms)
        self.changes.extend(outcome.changes)
        return outcome.result

    def put(self, path: str, parent: str | None, *limits: Limit) -> None:
        assert self.do(wire.PutAccount(path, limits, parent), BEGIN_MS, "operator") == wire.AccountPut()

    def reserve(self, hold: str, at_ms: int, expires_in_ms: int) -> wire.AnyResult:
        return self.do(wire.Reserve(hold, SESSION, ONE_CALL, ONE_CALL, expires_in_ms), at_ms)


def a_ledger(*limits: Limit, of_budget: tuple[Limit, ...] = ()) -> Journalled:
    ledger = Journalled()
    ledger.put(BUDGET, None, *of_budget)
    ledger.put(TEAM, BUDGET, *limits)
    ledger.do(wire.Open(SESSION, TEAM, 24 * HOUR_MS), BEGIN_MS)
    return ledger


def test_putting_a_budget_leaves_the_limits_of_those_under_it() -> None:
    ledger = a_ledger(a_limit(Window.LIFETIME, 1))
    ledger.put(BUDGET, None, a_limit(Window.LIFETIME, 100))
    usage = ledger.do(wire.GetUsage(TEAM), BEGIN_MS)
    assert isinstance(usage, wire.Usage)
    assert [view.limit for view in usage.limits] == [1]


def test_what_is_final_is_refused_although_a_nearer_account_only_has_to_wait() -> None:
    ledger = a_ledger(a_limit(Window.MINUTE, 1), of_budget=(a_limit(Window.LIFETIME, 1),))
    ledger.reserve("h#1", BEGIN_MS, HOUR_MS)
    ledger.do(wire.Settle("h#1", ONE_CALL), BEGIN_MS)
    assert isinstance(ledger.reserve("h#2", BEGIN_MS, HOUR_MS), wire.Refused)


def test_a_replay_through_a_snapshot_forgets_a_holder_when_the_writer_did() -> None:
    ledger = a_ledger()
    for hold in ("h#1", "h#2"):
        ledger.reserve(hold, BEGIN_MS, HOUR_MS)
    late_ms = BEGIN_MS + 30 * HOUR_MS + 1
    ledger.do(wire.GetUsage(BUDGET), late_ms)  # both expire now; the second is open yet as the first does
    chunks = list(snapshot.take(ledger.tree.state, late_ms))
    written = len(ledger.changes)
    ledger.do(wire.Adjust(BUDGET, Resource.USD, 1, "r", "ada"), late_ms + 60_000, "operator")
    assert isinstance(ledger.do(wire.Settle("h#1", Amount()), late_ms + 120_000), wire.Settled)
    replayed = Tree(snapshot.restore(chunks))
    replayed.replay(ledger.changes[written:])
    now_ms = ledger.tree.state.now_ms
    assert list(snapshot.take(replayed.state, now_ms)) == list(snapshot.take(ledger.tree.state, now_ms))


def test_a_kill_above_the_agent_of_a_sub_session_is_confirmed_and_survives_a_snapshot() -> None:
    ledger = a_ledger()
    ledger.put("budget/n/other", None)
    ledger.put("agent/n/helper", "budget/n/other")
    ledger.do(wire.Open("session/n/sub", SESSION, 24 * HOUR_MS, agent="agent/n/helper"), BEGIN_MS)
    ledger.do(wire.Open("session/n/sub-sub", "session/n/sub", 24 * HOUR_MS), BEGIN_MS)
    ledger.do(wire.Kill("budget/n/other", "runs amok", "ada"), BEGIN_MS)
    assert ledger.do(wire.Kill("budget/n/other", "runs amok", "ada"), BEGIN_MS) == wire.Killed(
        (), wire.Confirmation.OBSERVED
    )
    ledger.do(wire.GetUsage(BUDGET), BEGIN_MS + HOUR_MS)  # what was killed has folded
    now_ms = ledger.tree.state.now_ms
    image = list(snapshot.take(ledger.tree.state, now_ms))
    assert list(snapshot.take(snapshot.restore(image), now_ms)) == image


def test_windows_that_end_while_earlier_ones_wait_to_be_recorded_are_recorded_with_them() -> None:
    """Seed 236: a replay had turned the Hour, and the Day that ended since was taken to be recorded with it."""
    ledger = a_ledger()
    ledger.reserve("h#1", BEGIN_MS, HOUR_MS)
    ledger.do(wire.Settle("h#1", ONE_CALL), BEGIN_MS)
    replayed = Tree()
    replayed.replay([*ledger.changes, Adjusted(BEGIN_MS + HOUR_MS, BUDGET, {0: 1})])  # all of it that was kept
    records = replayed.advance(BEGIN_MS + 40 * 24 * HOUR_MS).records
    spent = {each.window for each in windows_of(each for each in records if each.path == BUDGET)}
    assert spent == {Window.HOUR, Window.DAY, Window.WEEK, Window.MONTH}


def test_a_parked_session_wakes_with_the_next_window_after_a_replay_too() -> None:
    """Seed 129: only the writer that parked it knew when to look at it again."""
    ledger = a_ledger()
    put = wire.PutAccount(TEAM, (a_limit(Window.HOUR, 1),), BUDGET, when_exhausted=wire.WhenExhausted.PARK)
    ledger.do(put, BEGIN_MS, "operator")
    ledger.reserve("h#1", BEGIN_MS, HOUR_MS)
    ledger.do(wire.Settle("h#1", ONE_CALL), BEGIN_MS)
    refused = ledger.reserve("h#2", BEGIN_MS, HOUR_MS)
    assert isinstance(refused, wire.Refused)
    assert refused.reason is wire.RefusalReason.PARKED
    replayed = Tree()
    replayed.replay(ledger.changes)
    assert not any(isinstance(change, SessionWoken) for change in replayed.advance(BEGIN_MS + 1).changes)
    due_ms = replayed.next_due_ms()
    assert due_ms is not None
    assert any(isinstance(change, SessionWoken) for change in replayed.advance(due_ms).changes)


def test_parking_one_session_keeps_another_from_no_waking_that_is_due() -> None:
    """Seed 3753: the account was looked at again only when the window of the one that might have woken ended."""
    ledger = a_ledger()
    other = "session/n/other"
    ledger.do(wire.Open(other, TEAM, 24 * HOUR_MS), BEGIN_MS)
    parks = wire.PutAccount(TEAM, (a_limit(Window.MONTH, 1),), BUDGET, when_exhausted=wire.WhenExhausted.PARK)
    ledger.do(parks, BEGIN_MS, "operator")
    ledger.reserve("h#1", BEGIN_MS, HOUR_MS)
    ledger.do(wire.Settle("h#1", ONE_CALL), BEGIN_MS)
    ledger.reserve("h#2", BEGIN_MS, HOUR_MS)
    ledger.do(wire.Reserve("h#3", other, ONE_CALL, ONE_CALL, HOUR_MS), BEGIN_MS)
    # Both may go on, one after the other; the first is parked again, by another limit, before the second's turn.
    by_day = Limit(Window.DAY, Resource.TOOL_CALLS, 1)
    ledger.do(msgspec.structs.replace(parks, limits=(by_day,)), BEGIN_MS + 1, "operator")
    ledger.do(wire.GetUsage(TEAM), BEGIN_MS + 1)
    tool = Amount(tool_calls=1)
    ledger.do(wire.Reserve("h#4", SESSION, tool, tool, HOUR_MS), BEGIN_MS + 2)
    ledger.do(wire.Settle("h#4", tool), BEGIN_MS + 2)
    again = ledger.do(wire.Reserve("h#5", SESSION, tool, tool, HOUR_MS), BEGIN_MS + 2)
    assert isinstance(again, wire.Refused)
    assert again.reason is wire.RefusalReason.PARKED
    woken = ledger.tree.advance(BEGIN_MS + 1000).changes
    assert [change.path for change in woken if isinstance(change, SessionWoken)] == [other]
