"""What concerns very many sessions or holds is done in several steps: nobody else waits for all of it."""

import pytest

from ambit.ledger import wire
from ambit.ledger.changes import HoldExpired, SessionOver
from ambit.ledger.ending import ENDED_AT_ONCE
from ambit.ledger.tree import DUE_AT_ONCE
from ambit.telemetry.reasons import SessionEnd
from tests.ledger.builders import AGENT, DAY_MS, NOON_MS, SESSION, TEAM, Ledger, a_ledger, calls

MANY = 2 * ENDED_AT_ONCE + 50


def a_large_ledger() -> Ledger:
    """An Agent with many sessions, of which the last holds something."""
    ledger = a_ledger()
    state = ledger.tree.state
    for number in range(MANY - 1):
        opened = ledger.tree.apply("gateway", wire.Open(f"session/team-a/m-{number}", AGENT, DAY_MS), ledger.now_ms)
        ledger.note(opened.changes)
    assert state.open_sessions == MANY
    ledger.reserve(calls(1), hold="h", path=f"session/team-a/m-{MANY - 2}")
    return ledger


def test_a_large_kill_takes_several_steps_and_lets_nothing_new_be_held_from_the_first() -> None:
    ledger = a_large_ledger()
    state = ledger.tree.state
    killed = ledger.kill(TEAM)
    assert isinstance(killed, wire.Killed)
    assert (len(killed.sessions), killed.confirmed) == (MANY, None)
    assert state.open_sessions == MANY - ENDED_AT_ONCE
    cut = [each.path for each in ledger.last_changes if isinstance(each, SessionOver)]
    assert cut[0] == f"session/team-a/m-{MANY - 2}", "what acts is cut before what is idle"
    refused = ledger.reserve(calls(1), path=next(iter(state.doomed)).path)
    assert isinstance(refused, wire.Refused)
    assert (refused.reason, refused.ended) == (wire.RefusalReason.SESSION_ENDED, SessionEnd.KILLED)
    again = ledger.do(wire.Open(next(iter(state.doomed)).path, AGENT, DAY_MS))
    assert isinstance(again, wire.Refused)
    assert ledger.open(path="session/team-a/after") == wire.Opened(already=False, attributes={"user": "u"})
    steps = 0
    while ledger.tree.next_due_ms() == ledger.now_ms:
        ledger.pass_time(0)
        steps += 1
    assert 1 <= steps <= 3
    assert state.open_sessions == 1, "the one that came after the kill"
    ledger.settle(calls(1))
    assert ledger.kill(f"session/team-a/m-{MANY - 2}") == wire.Killed((), wire.Confirmation.OBSERVED)
    kill = state.accounts[TEAM].kill
    assert kill is not None
    assert kill.confirmed is wire.Confirmation.OBSERVED


@pytest.mark.parametrize("by_snapshot", [False, True])
def test_a_crash_in_the_midst_of_a_large_kill_ends_as_it_would_have(by_snapshot: bool) -> None:
    ledger = a_large_ledger()
    ledger.kill(TEAM)
    ledger.restart(ledger.through_snapshot(ledger.replayed()) if by_snapshot else ledger.replayed())
    state = ledger.tree.state
    assert len(state.doomed) == MANY - ENDED_AT_ONCE
    ledger.close()  # its first ending stays: it is killed already
    assert ledger.usage(SESSION).closed_reason is SessionEnd.KILLED
    while ledger.tree.next_due_ms() == ledger.now_ms:
        ledger.pass_time(0)
    assert (state.open_sessions, len(state.doomed)) == (0, 0)
    reasons = {each.session.ending.reason for each in state.accounts.values() if each.session and each.session.ending}
    assert reasons == {SessionEnd.KILLED}


def test_many_holds_that_expire_at_once_are_charged_in_several_steps() -> None:
    ledger = a_ledger()
    for number in range(1, DUE_AT_ONCE + 2):
        reserve = wire.Reserve(f"h#{number}", SESSION, calls(1), calls(1), 1000)
        ledger.note(ledger.tree.apply("gateway", reserve, NOON_MS).changes)
    ledger.now_ms += 1000
    first = ledger.tree.advance(ledger.now_ms)
    assert sum(isinstance(each, HoldExpired) for each in first.changes) == DUE_AT_ONCE
    assert ledger.tree.next_due_ms() == ledger.now_ms
    second = ledger.tree.advance(ledger.now_ms)
    assert sum(isinstance(each, HoldExpired) for each in second.changes) == 1
    assert ledger.tree.state.open_holds == 0
