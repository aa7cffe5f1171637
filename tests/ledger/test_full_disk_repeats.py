"""What a full disk refuses: what begins. A repeat of what was answered before gets its first answer."""

import pytest

from ambit.ledger import wire
from ambit.ledger.amounts import Amount
from ambit.ledger.wire import Granted, IdReused, Opened, RefusalReason, Refused
from tests.ledger.builders import AGENT, DAY_MS, HOUR_MS, OTHER, SESSION, TEAM, Ledger, a_ledger, calls

FIRST, SECOND = "gateway-7f#1", "gateway-7f#2"
ONE = wire.Reserve(FIRST, SESSION, calls(1), calls(1), HOUR_MS)
MORE = wire.Extend(FIRST, 1, HOUR_MS, calls(1), calls(1))


def full(ledger: Ledger, op: wire.AnyOperation) -> wire.AnyResult:
    """The answer while the disk is full."""
    outcome = ledger.tree.apply("gateway", op, ledger.now_ms, settling_only=True)
    ledger.note(outcome.changes)
    assert outcome.records == []
    return outcome.result


def is_full(result: wire.AnyResult) -> bool:
    return isinstance(result, Refused) and result.reason is RefusalReason.STORAGE_FULL


def test_what_was_answered_before_is_answered_again() -> None:
    ledger = a_ledger()
    assert ledger.do(ONE) == Granted(calls(1))
    assert ledger.do(MORE) == Granted(calls(1))
    assert full(ledger, ONE) == Granted(calls(1))
    assert full(ledger, MORE) == Granted(calls(1))
    assert full(ledger, wire.Open(SESSION, AGENT, DAY_MS)) == Opened(already=True, attributes={"user": "u"})


def test_nothing_begins() -> None:
    ledger = a_ledger()
    ledger.do(ONE)
    assert is_full(full(ledger, wire.Reserve(SECOND, SESSION, calls(1), calls(1), HOUR_MS)))
    assert is_full(full(ledger, MORE))
    assert is_full(full(ledger, wire.Open(OTHER, AGENT, DAY_MS)))
    assert full(ledger, wire.Extend(FIRST, 1, HOUR_MS)) == Granted(Amount()), "time alone needs no more room"
    assert full(ledger, wire.Settle(FIRST, calls(1))) == wire.Settled()


@pytest.mark.parametrize("replayed", [False, True])
def test_a_late_copy_of_what_was_refused_holds_nothing_once_there_is_room(replayed: bool) -> None:
    ledger = a_ledger()
    assert is_full(full(ledger, ONE))
    if replayed:
        ledger.usage()  # with the first operation that finds room it is kept what was used up
        ledger.restart(ledger.replayed())
    assert ledger.do(ONE) == IdReused(FIRST)
    assert ledger.usage(TEAM).held == Amount()
