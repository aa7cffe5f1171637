"""Failures that gateways and budget systems are known for, one test each, named after the failure.

Counting tokens and prices is the gateway's; here is what a ledger can get wrong.
"""

import pytest

from ambit.ledger import wire
from ambit.ledger.amounts import Amount, Resource, Window
from ambit.ledger.wire import Granted, Refused, Wait
from tests.ledger.builders import (
    AGENT,
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    NOON_MS,
    ORGANISATION,
    OTHER,
    TEAM,
    Ledger,
    a_ledger,
    a_limit,
    calls,
    tokens,
)


def spend(ledger: Ledger, amount: Amount) -> None:
    ledger.reserve(amount, hold=f"spent-{len(ledger.journal)}")
    ledger.settle(amount, f"spent-{len(ledger.journal) - 1}")


def test_check_then_increment_race() -> None:
    """Two callers see the same room before either has used it: the check itself takes the room."""
    ledger = a_ledger(a_limit(1))
    ledger.open(path=OTHER)
    answers = [ledger.reserve(calls(1)), ledger.reserve(calls(1), path=OTHER)]
    assert [type(answer) for answer in answers] == [Granted, Wait]


def test_shrunk_hold_admitted_unclamped() -> None:
    """The answer says how much is held, which is all that it counts: nobody is told that the wish was granted."""
    ledger = a_ledger(a_limit(10, resource=Resource.TOKENS))
    answer = ledger.reserve(tokens(1000), at_least=tokens(1), hold="h")
    assert answer == Granted(tokens(10))
    assert ledger.reserve(tokens(1000), at_least=tokens(1), hold="h") == answer


def test_overshoot_forgiven_at_zero() -> None:
    """What is used above a limit stays on the books, instead of the remainder being cut off at zero."""
    ledger = a_ledger(a_limit(10, resource=Resource.TOKENS))
    ledger.reserve(tokens(10), hold="h")
    ledger.settle(tokens(14))
    assert ledger.limit_usage(TEAM) == (14, 0)
    ledger.budget(a_limit(15, resource=Resource.TOKENS), parent=ORGANISATION)
    assert isinstance(ledger.reserve(tokens(2)), Refused)
    assert ledger.reserve(tokens(1)) == Granted(tokens(1))


def test_a_dead_holders_holds_never_returned() -> None:
    """Its holds expire: the room does not stay taken for ever, and what it may have used is charged."""
    ledger = a_ledger(a_limit(10, Window.MINUTE))
    ledger.reserve(calls(10), expires_in_ms=MINUTE_MS)
    ledger.pass_time(MINUTE_MS)
    assert ledger.usage(TEAM).spent == calls(10)
    assert ledger.reserve(calls(10)) == Granted(calls(10))


def test_usage_lost_on_abort() -> None:
    """Nobody learns what an aborted call used: the hold is charged."""
    ledger = a_ledger()
    ledger.reserve(tokens(10), expires_in_ms=1000)
    ledger.kill(TEAM)
    ledger.pass_time(1000)
    assert ledger.usage(TEAM).spent == tokens(10)


def test_concurrent_resets_erase_spend() -> None:
    """Nothing resets a window: it turns when it is looked at, and what counts in the new one is never erased."""
    ledger = a_ledger(a_limit(10, Window.MINUTE))
    spend(ledger, calls(10))
    ledger.pass_time(MINUTE_MS)
    spend(ledger, calls(4))
    for _ in range(3):
        ledger.budget(a_limit(10, Window.MINUTE), parent=ORGANISATION)
        ledger.pass_time(0)
        assert ledger.limit_usage(TEAM) == (4, 0)


@pytest.mark.parametrize("window", list(Window))
def test_editing_a_limit_resets_usage(window: Window) -> None:
    ledger = a_ledger(a_limit(10, window))
    spend(ledger, calls(8))
    ledger.reserve(calls(1), hold="open")
    for amount in (9, 100, 10):
        ledger.budget(a_limit(amount, window), parent=ORGANISATION)
        assert ledger.limit_usage(TEAM) == (8, 1)
    ledger.budget(parent=ORGANISATION)
    ledger.budget(a_limit(10, window), parent=ORGANISATION)
    assert ledger.limit_usage(TEAM) == (8, 1), "nor does taking it away and adding it again"


def test_a_new_window_answers_429_at_once() -> None:
    """The last minute's holds do not fill the new minute."""
    ledger = a_ledger(a_limit(3, Window.MINUTE))
    ledger.pass_time(MINUTE_MS - 1)
    ledger.reserve(calls(3))
    ledger.pass_time(1)
    assert ledger.reserve(calls(3)) == Granted(calls(3))


@pytest.mark.parametrize("window", list(Window))
def test_free_refill_by_deleting_and_re_creating(window: Window) -> None:
    ledger = a_ledger(a_limit(10, window))
    spend(ledger, calls(9))
    for path in (AGENT, TEAM, ORGANISATION):
        ledger.remove(path)
    ledger.budget(path=ORGANISATION)
    ledger.budget(a_limit(10, window), parent=ORGANISATION)
    ledger.agent()
    ledger.open(path=OTHER)
    assert ledger.limit_usage(TEAM) == (9, 0)
    assert not isinstance(ledger.reserve(calls(2), path=OTHER), Granted)
    assert ledger.usage(ORGANISATION).spent == calls(9)
    assert ledger.usage(AGENT).spent == calls(9)


def test_free_refill_by_changing_the_zone() -> None:
    """However often the zone changes, a day's limit is spent at most once a day."""
    ledger = a_ledger(a_limit(1, Window.DAY), zone="Pacific/Kiritimati")
    granted = 0
    for hour in range(10 * 24):
        zone = ("Pacific/Kiritimati", "Pacific/Pago_Pago", "Europe/Berlin")[hour % 3]
        ledger.budget(a_limit(1, Window.DAY), parent=ORGANISATION, zone=zone)
        if isinstance(ledger.reserve(calls(1), hold=f"h-{hour}"), Granted):
            ledger.settle(calls(1), f"h-{hour}")
            granted += 1
            ledger.reserve(Amount(runtime_ms=1), hold=f"keep-{hour}", expires_in_ms=DAY_MS)
        ledger.pass_time(HOUR_MS)
    assert 5 <= granted <= 11


@pytest.mark.parametrize("through_snapshot", [False, True])
def test_free_refill_at_restart(through_snapshot: bool) -> None:
    ledger = a_ledger(a_limit(10), a_limit(10, Window.DAY), a_limit(10, Window.MINUTE))
    spend(ledger, calls(6))
    ledger.reserve(calls(3), hold="open")
    ledger.restart(ledger.replayed())
    if through_snapshot:
        ledger.restart(ledger.through_snapshot())
    assert [(view.spent, view.held) for view in ledger.usage(TEAM).limits] == [(6, 3)] * 3
    assert isinstance(ledger.reserve(calls(2)), Wait)
    assert ledger.settle(calls(3), "open") == wire.Settled()


def test_a_clock_that_is_put_back_opens_an_old_window_again() -> None:
    """Neither live nor over a restart: time stands still until the clock has caught up."""
    ledger = a_ledger(a_limit(1, Window.MINUTE))
    spend(ledger, calls(1))
    ledger.pass_time(MINUTE_MS)
    spend(ledger, calls(1))
    ledger.now_ms = NOON_MS
    assert isinstance(ledger.reserve(calls(1)), Wait)
    ledger.restart(ledger.replayed())
    assert isinstance(ledger.reserve(calls(1)), Wait)
    assert ledger.limit_usage(TEAM) == (1, 0)
    ledger.budget(a_limit(3, Window.MINUTE), parent=ORGANISATION)
    ledger.reserve(calls(2), hold="meanwhile")
    assert ledger.limit_usage(TEAM) == (1, 2)
    ledger.settle(calls(1), "meanwhile")
    assert ledger.limit_usage(TEAM) == (2, 0), "what is granted while time stands still counts in the window that runs"


def test_a_refused_call_still_charged() -> None:
    ledger = a_ledger(a_limit(1))
    spend(ledger, calls(1))
    for _ in range(3):
        assert isinstance(ledger.reserve(calls(1)), Refused)
    assert ledger.limit_usage(TEAM) == (1, 0)
    assert ledger.usage().held == Amount()


def test_a_settlement_that_is_sent_twice_is_charged_twice() -> None:
    ledger = a_ledger()
    ledger.reserve(tokens(10), hold="h")
    for _ in range(3):
        ledger.settle(tokens(6))
    assert ledger.usage(TEAM).spent == tokens(6)
