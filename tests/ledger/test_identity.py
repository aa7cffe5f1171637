"""Holds named by their holder and a sequence: what a repeat, a late one and a stranger get, and what is remembered."""

import pytest

from ambit.ledger import wire
from ambit.ledger.amounts import Amount
from ambit.ledger.holds import HOLDER_MEMORY_MS
from ambit.ledger.wire import (
    AlreadySettled,
    Forbidden,
    Granted,
    IdReused,
    Invalid,
    Refused,
    Settled,
    UnknownAccount,
    UnknownHold,
    Wait,
)
from tests.ledger.builders import HOUR_MS, ORGANISATION, TEAM, a_ledger, a_limit, calls, tokens

FIRST, SECOND, THIRD = "gateway-7f#1", "gateway-7f#2", "gateway-7f#3"


def test_a_repeat_gets_the_first_answer_and_a_settled_one_gives_no_cover_again() -> None:
    ledger = a_ledger()
    assert ledger.reserve(tokens(5), hold=FIRST) == Granted(tokens(5))
    assert ledger.reserve(tokens(5), hold=FIRST) == Granted(tokens(5))
    assert ledger.reserve(tokens(6), hold=FIRST) == IdReused(FIRST)
    assert ledger.settle(tokens(4), FIRST) == Settled()
    assert ledger.settle(tokens(4), FIRST) == AlreadySettled()
    assert ledger.release(FIRST) == AlreadySettled()
    assert ledger.reserve(tokens(5), hold=FIRST) == IdReused(FIRST)
    assert ledger.extend(1, tokens(1), hold=FIRST) == IdReused(FIRST)
    assert (ledger.usage(TEAM).spent, ledger.usage(TEAM).held) == (tokens(4), Amount())


def test_whatever_is_not_above_the_watermark_and_not_open_is_settled() -> None:
    ledger = a_ledger()
    ledger.reserve(tokens(5), hold=THIRD)
    assert ledger.settle(tokens(1), FIRST) == AlreadySettled()
    assert ledger.reserve(tokens(5), hold=SECOND) == IdReused(SECOND)
    assert ledger.settle(tokens(1), "gateway-7f#4") == UnknownHold("gateway-7f#4")
    assert ledger.settle(tokens(1), "gateway-8a#1") == UnknownHold("gateway-8a#1")
    assert ledger.usage(TEAM).spent == Amount()


@pytest.mark.parametrize("through_snapshot", [False, True])
def test_a_late_copy_of_what_was_not_granted_holds_nothing(through_snapshot: bool) -> None:
    ledger = a_ledger(a_limit(1))
    ledger.reserve(calls(1), hold="gateway-8a#1")
    assert isinstance(ledger.reserve(calls(1), hold=FIRST), Wait)
    assert isinstance(ledger.reserve(calls(2), hold="gateway-9b#1"), Refused)
    assert isinstance(ledger.reserve(calls(1), hold="gateway-9b#2", path="session/team-a/s-9"), UnknownAccount)
    ledger.release("gateway-8a#1")
    ledger.budget(a_limit(9), parent=ORGANISATION)
    ledger.open(path="session/team-a/s-9")
    ledger.restart(ledger.through_snapshot() if through_snapshot else ledger.replayed())
    assert ledger.reserve(calls(1), hold=FIRST) == IdReused(FIRST)
    assert ledger.reserve(calls(2), hold="gateway-9b#1") == IdReused("gateway-9b#1")
    assert ledger.reserve(calls(1), hold="gateway-9b#2", path="session/team-a/s-9") == IdReused("gateway-9b#2")
    assert ledger.limit_usage(TEAM) == (0, 0)
    assert isinstance(ledger.reserve(calls(1), hold=SECOND), Granted), "the holder asks under the next"


def test_what_was_not_granted_leaves_nothing_in_memory_but_its_holder() -> None:
    ledger = a_ledger(a_limit(0))
    size = ledger.tree.state.size
    for sequence in range(1, 200):
        assert isinstance(ledger.reserve(calls(1), hold=f"gateway-7f#{sequence}"), Refused)
    assert ledger.tree.state.size == size + 1


def test_a_name_that_was_not_granted_is_asked_anew() -> None:
    ledger = a_ledger(a_limit(1))
    ledger.reserve(calls(1), hold="a")
    assert isinstance(ledger.reserve(calls(1), hold="b"), Wait)
    ledger.release("a")
    assert isinstance(ledger.reserve(calls(1), hold="b"), Granted)


def test_a_settled_hold_leaves_nothing_in_memory() -> None:
    ledger = a_ledger()
    for sequence in range(1, 200):
        ledger.reserve(calls(1), hold=f"gateway-7f#{sequence}")
        ledger.settle(calls(1), f"gateway-7f#{sequence}")
    state = ledger.tree.state
    assert (list(state.holds()), state.closed_names) == ([], type(state.closed_names)())
    assert state.size == len(state.accounts) + 1


def test_a_holder_belongs_to_the_component_that_used_it_first() -> None:
    ledger = a_ledger()
    ledger.reserve(tokens(5), hold=FIRST)
    for op in (
        wire.Settle(FIRST, tokens(0)),
        wire.Release(FIRST, "mine now"),
        wire.Extend(FIRST, 1, HOUR_MS),
        wire.Reserve(SECOND, "session/team-a/s-1", calls(1), calls(1), HOUR_MS),
    ):
        assert isinstance(ledger.do(op, "operator"), Forbidden)
    assert ledger.usage(TEAM).held == tokens(5)


@pytest.mark.parametrize("hold", ["gateway#", "#1", "gateway#0", "gateway#01", "gateway#-1", "gateway#1.0", "g#١"])
def test_an_id_with_a_mark_needs_a_holder_and_a_sequence(hold: str) -> None:
    ledger = a_ledger()
    assert isinstance(ledger.reserve(calls(1), hold=hold), Invalid)
    assert isinstance(ledger.settle(calls(1), hold), Invalid)


@pytest.mark.parametrize("through_snapshot", [False, True])
def test_an_expired_hold_takes_its_true_settle_once_while_its_holder_is_known(through_snapshot: bool) -> None:
    ledger = a_ledger()
    for hold in (FIRST, SECOND):
        ledger.reserve(tokens(10), hold=hold, expires_in_ms=1000)
    ledger.pass_time(1000)
    assert ledger.usage(TEAM).spent == tokens(20)
    ledger.pass_time(HOLDER_MEMORY_MS - HOUR_MS)
    ledger.restart(ledger.through_snapshot() if through_snapshot else ledger.replayed())
    assert isinstance(ledger.reserve(tokens(10), hold=FIRST, expires_in_ms=1000), Refused)
    assert ledger.settle(tokens(4), FIRST) == Settled()
    assert ledger.settle(tokens(4), FIRST) == AlreadySettled()
    assert ledger.release(SECOND) == wire.Released()
    assert ledger.usage(TEAM).spent == tokens(4)


def test_a_holder_is_forgotten_a_day_after_its_last_word() -> None:
    ledger = a_ledger()
    ledger.reserve(tokens(10), hold=FIRST, expires_in_ms=1000)
    ledger.pass_time(1000)
    ledger.pass_time(HOLDER_MEMORY_MS + HOUR_MS)
    ledger.open(path="session/team-a/s-9")
    assert ledger.settle(tokens(4), FIRST) == UnknownHold(FIRST)
    assert ledger.usage(TEAM).spent == tokens(10)
    assert ledger.tree.state.holders == {}


def test_a_holder_with_an_open_hold_is_not_forgotten() -> None:
    ledger = a_ledger()
    ledger.reserve(tokens(10), hold=FIRST, expires_in_ms=HOLDER_MEMORY_MS)
    for sequence in range(1, 50):
        ledger.pass_time(HOUR_MS)
        ledger.extend(sequence, hold=FIRST, expires_in_ms=HOLDER_MEMORY_MS)
    assert ledger.settle(tokens(1), FIRST) == Settled()
