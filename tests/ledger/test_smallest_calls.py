"""What an exhausted account is: one without room for the smallest call that it is known to be asked for."""

import pytest

from ambit.ledger import wire
from ambit.ledger.amounts import Amount, Limit, Resource, Window
from ambit.ledger.exhaustion import SMALLEST_KEPT_MS
from ambit.ledger.wire import RefusalReason, WhenExhausted
from tests.ledger.builders import DAY_MS, ORGANISATION, OTHER, SESSION, TEAM, Ledger, a_ledger, a_limit

HUNDRED = a_limit(100, resource=Resource.USD)
BOTH = pytest.mark.parametrize("answer", [WhenExhausted.PARK, WhenExhausted.TERMINATE])
REASONS = {WhenExhausted.PARK: RefusalReason.PARKED, WhenExhausted.TERMINATE: RefusalReason.TERMINATED}


def money(amount: int) -> Amount:
    return Amount(usd_nanos=amount)


def put(ledger: Ledger, answer: WhenExhausted, *limits: Limit) -> None:
    op = wire.PutAccount(TEAM, limits, ORGANISATION, when_exhausted=answer)
    assert ledger.do(op, "operator") == wire.AccountPut()


def spend(ledger: Ledger, amount: int, times: int = 1) -> None:
    for _ in range(times):
        hold = f"spent-{len(ledger.journal)}"
        assert isinstance(ledger.reserve(money(amount), hold=hold), wire.Granted)
        ledger.settle(money(amount), hold)


def reason_of(answer: wire.AnyResult) -> RefusalReason:
    assert isinstance(answer, wire.Refused), answer
    return answer.reason


def goes_on(ledger: Ledger) -> bool:
    """Whether both sessions do."""
    return all((usage.state, usage.parked) == (wire.State.OPEN, False) for usage in map(ledger.usage, (SESSION, OTHER)))


def is_replayed(ledger: Ledger) -> bool:
    ledger.pass_time(0)
    return ledger.image(ledger.replayed()) == ledger.image() == ledger.image(ledger.through_snapshot())


@BOTH
@pytest.mark.parametrize("days", [0, 1, 40])
def test_a_large_call_ends_nothing_while_half_of_the_money_is_left(answer: WhenExhausted, days: int) -> None:
    """Midnight, and a month without a call, do not make the next call the smallest useful one."""
    ledger = a_ledger()
    put(ledger, answer, HUNDRED)
    spend(ledger, 1, times=50)
    ledger.pass_time(days * DAY_MS)
    ledger.open(path=SESSION)
    ledger.open(path=OTHER)
    sessions = ("session/team-a/s-3", "session/team-a/s-4")
    for path in sessions:
        ledger.open(path=path)
    assert reason_of(ledger.reserve(money(60), path=sessions[0])) is RefusalReason.LIMIT_EXCEEDED
    assert [ledger.usage(path).state for path in sessions] == [wire.State.OPEN, wire.State.OPEN]
    assert isinstance(ledger.reserve(money(50), path=sessions[1]), wire.Granted)
    assert is_replayed(ledger)


@BOTH
def test_while_nothing_is_known_only_an_account_without_anything_left_is_exhausted(answer: WhenExhausted) -> None:
    ledger = a_ledger(HUNDRED)
    ledger.open(path=OTHER)
    spend(ledger, 50)
    put(ledger, answer, HUNDRED)  # it has seen no call since it was asked to look
    assert reason_of(ledger.reserve(money(60))) is RefusalReason.LIMIT_EXCEEDED
    assert goes_on(ledger)
    ledger.do(wire.Adjust(TEAM, Resource.USD, 50, "spent elsewhere", "ada"), "operator")
    assert reason_of(ledger.reserve(money(60))) is REASONS[answer]
    assert is_replayed(ledger)


@BOTH
def test_what_was_asked_for_in_the_last_days_is_known_in_the_next(answer: WhenExhausted) -> None:
    ledger = a_ledger()
    put(ledger, answer, HUNDRED, a_limit(95, Window.DAY, Resource.USD))
    ledger.open(path=OTHER)
    spend(ledger, 3)
    ledger.pass_time(DAY_MS // 2)
    spend(ledger, 95)
    assert reason_of(ledger.reserve(money(10))) is REASONS[answer], "less than 3 are left, and nobody ever needed less"


def test_small_calls_that_nobody_asks_for_any_more_are_forgotten_in_two_weeks() -> None:
    ledger = a_ledger()
    put(ledger, WhenExhausted.TERMINATE, HUNDRED)
    spend(ledger, 1)
    for _ in range(2):
        ledger.pass_time(SMALLEST_KEPT_MS)
        path = f"session/team-a/at-{ledger.now_ms}"
        ledger.open(path=path)
        ledger.reserve(money(40), hold=path, path=path)
        ledger.settle(money(40), path)
    last = "session/team-a/last"
    ledger.open(path=last)
    assert reason_of(ledger.reserve(money(30), path=last)) is RefusalReason.TERMINATED
