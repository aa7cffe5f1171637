"""What people do to the ledger itself: correct what is spent, take up a backup; and what they ask of holds."""

import msgspec
import pytest

from ambit.ledger import wire
from ambit.ledger.amounts import MAX_AMOUNT, MAX_AT_ONCE, Amount, Resource, Window
from ambit.ledger.changes import LimitReached, RestoreBegun
from ambit.ledger.wire import (
    Adjusted,
    Forbidden,
    Granted,
    HoldPolicy,
    Invalid,
    RefusalReason,
    Refused,
    Resumed,
    Settled,
)
from tests.ledger.builders import (
    AGENT,
    HOUR_MS,
    MINUTE_MS,
    ORGANISATION,
    OTHER,
    SESSION,
    TEAM,
    Ledger,
    a_ledger,
    a_limit,
    calls,
    tokens,
)


def adjust(ledger: Ledger, path: str, amount: int, component: str = "operator") -> wire.AnyResult:
    return ledger.do(wire.Adjust(path, Resource.MODEL_CALLS, amount, "billed twice", "ada"), component)


def test_an_adjustment_corrects_an_account_and_all_above_it() -> None:
    ledger = a_ledger(a_limit(10))
    assert adjust(ledger, AGENT, 7) == Adjusted()
    for path in (AGENT, TEAM, ORGANISATION):
        assert ledger.usage(path).spent == calls(7)
    assert ledger.usage(SESSION).spent == Amount()
    assert isinstance(ledger.reserve(calls(4)), Refused)
    adjust(ledger, TEAM, -2)
    assert (ledger.usage(AGENT).spent, ledger.usage(TEAM).spent) == (calls(7), calls(5))
    assert ledger.reserve(calls(5)) == Granted(calls(5))


def test_an_adjustment_takes_no_window_below_nothing() -> None:
    ledger = a_ledger(a_limit(10, Window.MINUTE), a_limit(20))
    adjust(ledger, TEAM, 6)
    ledger.pass_time(MINUTE_MS)
    adjust(ledger, TEAM, 1)
    adjust(ledger, TEAM, -5)
    assert [(view.spent, view.window) for view in ledger.usage(TEAM).limits] == [
        (0, Window.MINUTE),
        (2, Window.LIFETIME),
    ]
    ledger.reserve(calls(10), hold="g#1")
    assert isinstance(ledger.reserve(calls(1)), wire.Wait)


def test_what_cannot_be_adjusted() -> None:
    ledger = a_ledger()
    assert isinstance(adjust(ledger, TEAM, 1, "gateway"), Forbidden)
    assert adjust(ledger, "budget/n/none", 1) == wire.UnknownAccount("budget/n/none")
    adjust(ledger, ORGANISATION, 3)
    assert isinstance(adjust(ledger, TEAM, -1), Invalid), "less than nothing was spent there"
    assert isinstance(adjust(ledger, ORGANISATION, -4), Invalid)
    assert ledger.usage(ORGANISATION).spent == calls(3)


# -- a backup


@pytest.fixture
def restored() -> Ledger:
    """A ledger that was taken up from a backup."""
    ledger = a_ledger(a_limit(10))
    change = RestoreBegun(ledger.now_ms)
    ledger.tree.replay([change])
    ledger.note([change])
    return ledger


def resume(ledger: Ledger, *spent: wire.SpentSince, forget: bool = False, by: str = "operator") -> wire.AnyResult:
    return ledger.do(wire.Resume("the disk was lost", "ada", spent, forget), by)


def test_a_restored_ledger_refuses_until_it_is_told_what_was_spent_since(restored: Ledger) -> None:
    for op in (
        wire.Reserve("g#1", SESSION, calls(1), calls(1), HOUR_MS),
        wire.Open(OTHER, AGENT, HOUR_MS),
        wire.PutAccount("budget/n/b"),
        wire.Kill(TEAM, "why", "ada"),
    ):
        result = restored.do(op, "operator")
        assert isinstance(result, Refused)
        assert result.reason is RefusalReason.RESTORE_PENDING
    restored.restart(restored.replayed())
    assert resume(restored, wire.SpentSince(SESSION, calls(8))) == Resumed()
    assert ledger_spent(restored) == calls(8)
    assert isinstance(restored.reserve(calls(3)), Refused)
    assert restored.reserve(calls(2)) == Granted(calls(2))


def ledger_spent(ledger: Ledger) -> Amount:
    return ledger.usage(ORGANISATION).spent


def test_forgetting_is_said_and_not_assumed(restored: Ledger) -> None:
    assert isinstance(resume(restored), Invalid)
    assert isinstance(resume(restored, wire.SpentSince(SESSION, calls(1)), forget=True), Invalid)
    assert isinstance(resume(restored, forget=True, by="gateway"), Forbidden)
    unknown = wire.SpentSince("session/n/none", calls(1))
    assert resume(restored, wire.SpentSince(TEAM, calls(1)), unknown) == wire.UnknownAccount("session/n/none")
    assert resume(restored, forget=True) == Resumed()
    assert ledger_spent(restored) == Amount()
    assert isinstance(resume(restored, forget=True), Invalid), "once"


# -- full holds


@pytest.mark.parametrize("path", [TEAM, ORGANISATION])
def test_where_holds_are_full_a_hold_grows_in_time_only(path: str) -> None:
    ledger = a_ledger()
    parent = ORGANISATION if path == TEAM else None
    ledger.do(wire.PutAccount(path, (), parent, holds=HoldPolicy.FULL), "operator")
    opened = ledger.open(path=OTHER)
    assert opened == wire.Opened(False, {"user": "u"}, HoldPolicy.FULL)
    ledger.reserve(tokens(5), hold="h")
    assert isinstance(ledger.extend(1, tokens(1)), Invalid)
    assert ledger.extend(1) == Granted(Amount())
    ledger.reserve(Amount(runtime_ms=5), hold="slice")
    assert ledger.extend(1, Amount(runtime_ms=5, gpu_time_ms=5), hold="slice") == Granted(
        Amount(runtime_ms=5, gpu_time_ms=5)
    )
    assert ledger.usage(TEAM).held == Amount(tokens=5, runtime_ms=10, gpu_time_ms=5)


def test_the_agent_of_a_sub_session_says_how_it_holds_too() -> None:
    ledger = a_ledger()
    careful = "agent/n/careful"
    ledger.do(wire.PutAccount(careful, (), TEAM, holds=HoldPolicy.FULL), "operator")
    below, deeper = "session/n/below", "session/n/deeper"
    sub_session = wire.Open(below, SESSION, 60_000, agent=careful)
    assert ledger.do(sub_session) == wire.Opened(False, {}, HoldPolicy.FULL)
    assert ledger.do(sub_session) == wire.Opened(True, {}, HoldPolicy.FULL)
    assert ledger.do(wire.Open(deeper, below, 60_000)) == wire.Opened(False, {}, HoldPolicy.FULL)
    ledger.reserve(tokens(5), hold="h", path=deeper)
    assert isinstance(ledger.extend(1, tokens(1)), Invalid)


@pytest.mark.parametrize("late", ["settle", "release"])
def test_a_lost_hold_that_was_taken_off_by_hand_is_not_taken_off_again(late: str) -> None:
    ledger = a_ledger(a_limit(10))
    ledger.reserve(calls(10), hold="g#1", expires_in_ms=1000)
    ledger.pass_time(1000)
    adjust(ledger, SESSION, -10)
    answer = ledger.settle(Amount(), "g#1") if late == "settle" else ledger.release("g#1")
    assert answer == wire.AlreadySettled()
    assert ledger.usage(TEAM).spent == Amount()
    assert isinstance(ledger.reserve(calls(11), hold="g#2"), Refused)


def test_amounts_that_no_journal_can_count_are_refused_and_harm_nobody() -> None:
    ledger = a_ledger()
    for number in range(1, 9):
        ledger.reserve(calls(1), hold=f"g#{number}")
        ledger.settle(Amount(tokens=2**62), f"g#{number}")
    for number in range(9, 13):
        ledger.reserve(Amount(tokens=2**61), hold=f"g#{number}")
        ledger.extend(1, Amount(tokens=2**61), hold=f"g#{number}")
    ledger.do(wire.Adjust(TEAM, Resource.TOKENS, 2**62, "absurd", "ada"), "operator")
    huge = tuple(wire.TopUp(f"t{number}", Window.DAY, Resource.TOKENS, 2**62) for number in range(6))
    assert isinstance(ledger.do(wire.PutAccount(TEAM, (), ORGANISATION, top_ups=huge), "operator"), Invalid)
    assert ledger.usage(ORGANISATION).spent.tokens + ledger.usage(ORGANISATION).held.tokens <= 2**62
    ledger.pass_time(25 * HOUR_MS)
    assert isinstance(ledger.reserve(calls(1), hold="g#99", path=SESSION), Granted)
    ledger.restart(ledger.through_snapshot())


def test_an_absurd_hold_or_overrun_is_refused_and_nobody_else_is_harmed_by_it() -> None:
    ledger = a_ledger()
    ledger.open(path=OTHER)
    ledger.reserve(tokens(5), hold="other", path=OTHER)
    for amount in (MAX_AMOUNT, MAX_AT_ONCE + 1):
        assert isinstance(ledger.reserve(tokens(amount), hold="absurd"), Invalid)
        ledger.reserve(tokens(1), hold="h")
        assert isinstance(ledger.extend(1, tokens(amount)), Invalid)
        assert isinstance(ledger.settle(tokens(amount + 1)), Invalid)
    assert isinstance(ledger.reserve(tokens(5), path=OTHER), Granted)
    assert ledger.settle(tokens(9), "other") == Settled(tokens(4))
    assert ledger.usage(TEAM).spent == tokens(9)


def test_however_much_is_held_what_was_truly_used_can_be_counted() -> None:
    ledger = a_ledger()
    ledger.open(path=OTHER)
    ledger.reserve(tokens(5), hold="other", path=OTHER)
    answers = [ledger.reserve(tokens(MAX_AT_ONCE), hold=f"h-{number}") for number in range(40)]
    assert isinstance(answers[0], Granted)
    assert isinstance(answers[-1], Invalid)
    assert isinstance(ledger.reserve(tokens(1)), Granted), "there is room for little yet"
    msgspec.convert(msgspec.to_builtins(ledger.usage(ORGANISATION)), wire.Usage)
    assert ledger.settle(tokens(MAX_AT_ONCE), "other") == Settled(tokens(MAX_AT_ONCE - 5))
    assert isinstance(ledger.reserve(tokens(1)), Invalid), "a small one, too"
    assert ledger.settle(tokens(MAX_AT_ONCE + 7), "h-0") == Settled(tokens(7))
    msgspec.convert(msgspec.to_builtins(ledger.usage(ORGANISATION)), wire.Usage)


def test_what_was_spent_since_a_backup_warns_like_any_other_spend() -> None:
    ledger = a_ledger()
    ledger.do(wire.PutAccount(TEAM, (a_limit(10),), ORGANISATION, warn_at=(50,)), "operator")
    ledger.restored(len(ledger.journal), len(ledger.records))
    assert resume(ledger, wire.SpentSince(SESSION, calls(6))) == Resumed()
    reached = [change for change in ledger.last_changes if isinstance(change, LimitReached)]
    assert [(each.path, each.percent) for each in reached] == [(TEAM, 50)]


def test_more_than_can_be_counted_was_not_spent_since_a_backup(restored: Ledger) -> None:
    most = wire.SpentSince(SESSION, calls(MAX_AMOUNT))
    assert isinstance(resume(restored, most, wire.SpentSince(AGENT, calls(1))), Invalid)
    assert isinstance(resume(restored, wire.SpentSince(SESSION, calls(1)), wire.SpentSince(TEAM, calls(2))), Resumed)
    assert ledger_spent(restored) == calls(3)
