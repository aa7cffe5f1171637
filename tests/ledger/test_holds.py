"""What becomes of a hold: extended, settled, released, expired, corrected; and what a repeat of each gets."""

import pytest

from ambit.ledger import wire
from ambit.ledger.amounts import Amount, Resource, Window
from ambit.ledger.holds import NAME_MEMORY_MS
from ambit.ledger.wire import AlreadySettled, Granted, IdReused, RefusalReason, Refused, Released, Settled
from tests.ledger.builders import DAY_MS, MINUTE_MS, ORGANISATION, SESSION, TEAM, a_ledger, a_limit, calls, tokens


def test_settling_charges_what_was_used_and_frees_the_rest_on_the_whole_path() -> None:
    ledger = a_ledger()
    ledger.reserve(tokens(10), hold="h")
    assert ledger.settle(tokens(4)) == Settled()
    for path in (SESSION, TEAM, ORGANISATION):
        usage = ledger.usage(path)
        assert (usage.spent, usage.held) == (tokens(4), Amount())


def test_releasing_charges_nothing() -> None:
    ledger = a_ledger()
    ledger.reserve(tokens(10), hold="h")
    assert ledger.release() == Released()
    assert (ledger.usage(TEAM).spent, ledger.usage(TEAM).held) == (Amount(), Amount())


def test_a_hold_is_settled_or_released_once() -> None:
    ledger = a_ledger()
    ledger.reserve(tokens(10), hold="h")
    ledger.settle(tokens(4))
    assert ledger.settle(tokens(9)) == AlreadySettled()
    assert ledger.release() == AlreadySettled()
    ledger.reserve(tokens(10), hold="g")
    ledger.release("g")
    assert ledger.settle(tokens(9), "g") == AlreadySettled()
    assert ledger.usage(TEAM).spent == tokens(4)


def test_a_repeated_reserve_gets_the_first_answer_and_holds_once() -> None:
    ledger = a_ledger(a_limit(10, resource=Resource.TOKENS))
    first = ledger.reserve(tokens(20), at_least=tokens(1), hold="h")
    assert first == Granted(tokens(10))
    ledger.extend(1)
    assert ledger.reserve(tokens(20), at_least=tokens(1), hold="h") == first
    assert ledger.usage(TEAM).held == tokens(10)


@pytest.mark.parametrize(
    "other",
    [
        wire.Reserve("h", SESSION, tokens(11), tokens(10), 3_600_000),
        wire.Reserve("h", SESSION, tokens(10), tokens(9), 3_600_000),
        wire.Reserve("h", SESSION, tokens(10), tokens(10), 1000),
        wire.Reserve("h", TEAM, tokens(10), tokens(10), 3_600_000),
    ],
)
def test_an_id_stands_for_one_operation(other: wire.Reserve) -> None:
    ledger = a_ledger()
    ledger.reserve(tokens(10), hold="h")
    assert ledger.do(other) == IdReused("h")
    assert ledger.usage(TEAM).held == tokens(10)


def test_the_id_of_a_settled_hold_gives_no_cover_again() -> None:
    ledger = a_ledger()
    ledger.reserve(tokens(10), hold="h")
    ledger.settle(tokens(1))
    assert ledger.reserve(tokens(10), hold="h") == IdReused("h")
    assert ledger.extend(1, tokens(1)) == IdReused("h")
    assert ledger.usage(TEAM).held == Amount()


def test_ids_and_holds_are_a_components_own() -> None:
    ledger = a_ledger()
    ledger.reserve(tokens(10), hold="h")
    assert ledger.reserve(tokens(3), hold="h", component="operator") == Granted(tokens(3))
    assert ledger.settle(tokens(1), component="other") == wire.UnknownHold("h")
    ledger.settle(tokens(2), component="operator")
    assert (ledger.usage(TEAM).spent, ledger.usage(TEAM).held) == (tokens(2), tokens(10))


def test_an_extension_adds_to_the_hold() -> None:
    ledger = a_ledger(a_limit(10, resource=Resource.TOKENS))
    ledger.reserve(tokens(4), hold="h")
    assert ledger.extend(1, tokens(4)) == Granted(tokens(4))
    assert ledger.extend(2, tokens(4), tokens(1)) == Granted(tokens(2))
    assert isinstance(ledger.extend(3, tokens(4)), Refused)
    (hold,) = ledger.usage().holds
    assert (hold.amount, hold.sequence) == (tokens(10), 2)


def test_a_repeated_extension_gets_its_first_answer_and_an_old_number_an_error() -> None:
    ledger = a_ledger()
    ledger.reserve(tokens(4), hold="h")
    ledger.extend(1, tokens(4))
    assert ledger.extend(1, tokens(4)) == Granted(tokens(4))
    assert isinstance(ledger.extend(1, tokens(5)), wire.Invalid)
    ledger.extend(2, tokens(1))
    assert isinstance(ledger.extend(1, tokens(4)), wire.Invalid)
    assert ledger.usage(TEAM).held == tokens(9)


def test_a_refused_extension_leaves_the_hold_and_its_expiry_as_they_were() -> None:
    ledger = a_ledger(a_limit(4, resource=Resource.TOKENS))
    ledger.reserve(tokens(4), hold="h", expires_in_ms=1000)
    assert isinstance(ledger.extend(1, tokens(1), expires_in_ms=5000), Refused)
    (hold,) = ledger.usage().holds
    assert (hold.amount, hold.expires_in_ms) == (tokens(4), 1000)


def test_an_empty_extension_moves_the_expiry_alone_both_ways() -> None:
    ledger = a_ledger()
    ledger.reserve(tokens(4), hold="h", expires_in_ms=1000)
    assert ledger.extend(1, expires_in_ms=5000) == Granted(Amount())
    ledger.pass_time(4999)
    assert ledger.usage(TEAM).held == tokens(4)
    ledger.extend(2, expires_in_ms=10)
    ledger.pass_time(10)
    assert (ledger.usage(TEAM).spent, ledger.usage(TEAM).held) == (tokens(4), Amount())


def test_every_hold_expires_and_expiry_charges_all_of_it() -> None:
    ledger = a_ledger()
    ledger.reserve(tokens(4), hold="h", expires_in_ms=1000)
    ledger.extend(1, tokens(3), expires_in_ms=1000)
    ledger.pass_time(999)
    assert ledger.usage(TEAM).held == tokens(7)
    ledger.pass_time(1)
    assert (ledger.usage(TEAM).spent, ledger.usage(TEAM).held) == (tokens(7), Amount())


def test_an_expired_hold_takes_its_true_settle_once_as_a_correction() -> None:
    ledger = a_ledger(a_limit(10, resource=Resource.TOKENS))
    ledger.reserve(tokens(10), hold="h", expires_in_ms=1000)
    ledger.pass_time(5000)
    assert ledger.limit_usage(TEAM) == (10, 0)
    assert ledger.settle(tokens(4)) == Settled()
    assert ledger.limit_usage(TEAM) == (4, 0)
    assert ledger.settle(tokens(4)) == AlreadySettled()
    assert ledger.limit_usage(TEAM) == (4, 0)


def test_an_expired_hold_may_turn_out_never_to_have_been_used() -> None:
    ledger = a_ledger()
    ledger.reserve(tokens(10), hold="h", expires_in_ms=1000)
    ledger.pass_time(1000)
    assert ledger.release() == Released()
    assert ledger.usage(TEAM).spent == Amount()


def test_an_expired_hold_gives_no_cover_again() -> None:
    ledger = a_ledger()
    ledger.reserve(tokens(10), hold="h", expires_in_ms=1000)
    ledger.pass_time(1000)
    for result in (ledger.reserve(tokens(10), hold="h", expires_in_ms=1000), ledger.extend(1, tokens(1))):
        assert isinstance(result, Refused)
        assert result.reason is RefusalReason.HOLD_EXPIRED


def test_a_closed_hold_is_remembered_for_a_while_and_then_forgotten() -> None:
    ledger = a_ledger()
    ledger.reserve(tokens(10), hold="h", expires_in_ms=1000)
    ledger.pass_time(1000)
    ledger.pass_time(NAME_MEMORY_MS - 1)
    ledger.reserve(calls(1), hold="g")
    assert ledger.settle(tokens(1)) == Settled()
    ledger.pass_time(1)
    ledger.release("g")
    assert ledger.settle(tokens(1)) == wire.UnknownHold("h")


def test_use_above_the_hold_is_recorded_as_an_overrun_and_nothing_more_is_admitted() -> None:
    ledger = a_ledger(a_limit(10, resource=Resource.TOKENS))
    ledger.reserve(tokens(10), hold="h")
    assert ledger.settle(tokens(25)) == Settled(overrun=tokens(15))
    usage = ledger.usage(TEAM)
    assert (usage.spent, usage.overrun) == (tokens(25), tokens(15))
    assert isinstance(ledger.reserve(tokens(1)), Refused)


def test_a_correction_above_the_hold_is_an_overrun_too() -> None:
    ledger = a_ledger()
    ledger.reserve(tokens(10), hold="h", expires_in_ms=1)
    ledger.pass_time(1)
    assert ledger.settle(tokens(12)) == Settled(overrun=tokens(2))
    assert ledger.usage(TEAM).spent == tokens(12)


def test_a_resource_that_was_not_held_at_all_is_charged_as_an_overrun() -> None:
    ledger = a_ledger()
    ledger.reserve(calls(1), hold="h")
    assert ledger.settle(Amount(model_calls=1, usd_nanos=5)) == Settled(overrun=Amount(usd_nanos=5))
    assert ledger.usage(ORGANISATION).spent == Amount(model_calls=1, usd_nanos=5)


def test_a_hold_counts_in_the_window_in_which_it_was_granted() -> None:
    ledger = a_ledger(a_limit(10, Window.MINUTE, Resource.TOKENS))
    ledger.pass_time(MINUTE_MS - 1)
    ledger.reserve(tokens(8), hold="h")
    ledger.pass_time(1)
    assert ledger.limit_usage(TEAM) == (0, 0), "the new minute has seen nothing of it"
    ledger.settle(tokens(8))
    assert ledger.limit_usage(TEAM) == (0, 0)
    assert ledger.usage(TEAM).spent == tokens(8), "its lifetime has"


def test_settlement_fills_the_oldest_increment_first() -> None:
    ledger = a_ledger(a_limit(100, Window.MINUTE, Resource.TOKENS))
    ledger.reserve(tokens(10), hold="h")
    ledger.pass_time(MINUTE_MS)
    ledger.extend(1, tokens(10))
    assert ledger.limit_usage(TEAM) == (0, 10)
    ledger.settle(tokens(13))
    assert ledger.limit_usage(TEAM) == (3, 0), "ten were the last minute's"


def test_an_overrun_counts_in_the_window_in_which_it_is_known() -> None:
    ledger = a_ledger(a_limit(100, Window.MINUTE, Resource.TOKENS))
    ledger.reserve(tokens(10), hold="h")
    ledger.pass_time(MINUTE_MS)
    ledger.settle(tokens(15))
    assert ledger.limit_usage(TEAM) == (5, 0)


def test_a_correction_changes_only_windows_that_saw_the_charge() -> None:
    ledger = a_ledger(a_limit(100, Window.MINUTE, Resource.TOKENS))
    ledger.reserve(tokens(10), hold="h", expires_in_ms=1000)
    ledger.pass_time(MINUTE_MS)
    ledger.reserve(tokens(7), hold="g")
    ledger.settle(tokens(7), "g")
    ledger.settle(tokens(0))
    assert ledger.limit_usage(TEAM) == (7, 0)
    assert ledger.usage(TEAM).spent == tokens(7)


def test_a_hold_of_many_extensions_keeps_a_part_for_each_hour() -> None:
    ledger = a_ledger()
    ledger.reserve(Amount(runtime_ms=30_000), hold="h", expires_in_ms=30_000)
    for sequence in range(1, 4 * 60 * 24):
        ledger.now_ms += 20_000
        ledger.tree.apply("gateway", wire.Extend("h", sequence, 30_000, Amount(runtime_ms=20_000)), ledger.now_ms)
    (hold,) = ledger.tree.state.holds()
    assert len(hold.parts) <= 32 + 6
    used = Amount(runtime_ms=20_000 * 4 * 60 * 24)
    assert ledger.settle(used) == Settled()
    assert ledger.usage(TEAM).spent == used
    assert ledger.now_ms > DAY_MS
