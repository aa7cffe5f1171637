"""What a Budget's policies do in the tree: warnings, top-ups, and Shadow."""

import pytest

from ambit.ledger import wire
from ambit.ledger.amounts import MAX_AMOUNT, Resource, Window
from ambit.ledger.wire import Enforcement, Granted, RefusalReason, Refused, Warned, WhenExhausted
from tests.ledger.builders import (
    AGENT,
    DAY_MS,
    ORGANISATION,
    OTHER,
    SESSION,
    TEAM,
    a_ledger,
    a_limit,
    calls,
)
from tests.ledger.policies import DAY_LIMIT, a_top_up, events, is_replayed, put, reason_of, spend

# -- warnings


def test_a_warning_is_said_once_in_a_window() -> None:
    ledger = a_ledger()
    put(ledger, DAY_LIMIT, warn_at=(50, 80))
    assert spend(ledger, calls(4)).warnings == ()
    fifty = Warned(TEAM, Window.DAY, Resource.MODEL_CALLS, 50)
    assert spend(ledger, calls(1)).warnings == (fifty,)
    assert wire.LimitWarned(TEAM, Window.DAY, Resource.MODEL_CALLS, 50) in events(ledger)
    assert spend(ledger, calls(1)).warnings == ()
    put(ledger, a_limit(100, Window.DAY), warn_at=(50, 80))
    put(ledger, DAY_LIMIT, warn_at=(50, 80))
    assert spend(ledger, calls(1)).warnings == (), "a limit that was raised and lowered warns of nothing anew"
    assert [each.percent for each in spend(ledger, calls(1)).warnings] == [80]
    assert is_replayed(ledger)
    ledger.pass_time(DAY_MS)
    ledger.do(wire.Open("session/team-a/s-9", AGENT, DAY_MS))
    assert spend(ledger, calls(5), "session/team-a/s-9").warnings == (fifty,)
    assert is_replayed(ledger)


def test_what_is_only_held_warns_of_nothing() -> None:
    ledger = a_ledger()
    put(ledger, DAY_LIMIT, warn_at=(50,))
    assert ledger.reserve(calls(10), hold="h") == Granted(calls(10))
    assert ledger.settle(calls(4)) == wire.Settled()


def test_an_expired_hold_and_a_lowered_limit_warn_too() -> None:
    ledger = a_ledger()
    put(ledger, DAY_LIMIT, warn_at=(50, 80))
    ledger.reserve(calls(6), hold="h", expires_in_ms=1000)
    ledger.pass_time(1000)
    assert wire.LimitWarned(TEAM, Window.DAY, Resource.MODEL_CALLS, 50) in events(ledger)
    put(ledger, a_limit(7, Window.DAY), warn_at=(50, 80))
    assert wire.LimitWarned(TEAM, Window.DAY, Resource.MODEL_CALLS, 80) in events(ledger)


# -- top-ups


def test_a_top_up_raises_the_window_that_runs_and_no_other() -> None:
    ledger = a_ledger()
    put(ledger, DAY_LIMIT)
    spend(ledger, calls(10))
    assert isinstance(ledger.reserve(calls(1)), Refused)
    put(ledger, DAY_LIMIT, top_ups=(a_top_up("april"),))
    assert wire.LimitsChanged(TEAM) in events(ledger)
    assert ledger.usage(TEAM).limits[0].limit == 15
    spend(ledger, calls(5))
    assert isinstance(ledger.reserve(calls(1)), Refused)
    assert is_replayed(ledger)
    ledger.pass_time(DAY_MS)
    assert ledger.usage(TEAM).limits[0].limit == 10
    assert is_replayed(ledger)


@pytest.mark.parametrize("window", [Window.LIFETIME, Window.DAY])
def test_a_top_up_is_applied_once_whatever_becomes_of_it(window: Window) -> None:
    """Edited, taken away, written again, with the Budget deleted and made again between."""
    ledger = a_ledger()
    limit = a_limit(10, window)
    put(ledger, limit, top_ups=(a_top_up("a", window=window),))
    put(ledger, limit, top_ups=(a_top_up("a", 500, window),))
    put(ledger, limit)
    put(ledger, limit, top_ups=(a_top_up("a", window=window),))
    ledger.remove(TEAM)
    put(ledger, limit, top_ups=(a_top_up("a", 500, window),))
    assert ledger.usage(TEAM).limits[0].limit == 15
    assert is_replayed(ledger)
    put(ledger, limit, top_ups=(a_top_up("a", window=window), a_top_up("b", 2, window)))
    assert ledger.usage(TEAM).limits[0].limit == 17
    ledger.pass_time(DAY_MS)
    put(ledger, limit, top_ups=(a_top_up("b", 2, window),))
    assert ledger.usage(TEAM).limits[0].limit == (17 if window is Window.LIFETIME else 10)


@pytest.mark.parametrize("window", [Window.LIFETIME, Window.DAY])
def test_top_ups_that_cannot_be_counted_together_are_refused_over_several_edits_too(window: Window) -> None:
    ledger = a_ledger()
    limit = a_limit(5, window)
    half = MAX_AMOUNT // 2 + 1
    put(ledger, limit, top_ups=(a_top_up("a", half, window),))
    again = wire.PutAccount(TEAM, (limit,), ORGANISATION, top_ups=(a_top_up("b", half, window),))
    refused = ledger.do(again, "operator")
    assert isinstance(refused, wire.Invalid)
    assert "absurd" in refused.message
    assert ledger.usage(TEAM).limits[0].limit == half + 5
    assert ledger.image(ledger.through_snapshot()) == ledger.image()
    ledger.pass_time(DAY_MS)
    assert isinstance(ledger.do(again, "operator"), wire.Invalid if window is Window.LIFETIME else wire.AccountPut)


def test_a_lifetime_top_up_stays_and_a_limit_added_later_has_it() -> None:
    ledger = a_ledger()
    put(ledger, top_ups=(a_top_up("a", window=Window.LIFETIME),))
    put(ledger, a_limit(1))
    ledger.pass_time(40 * DAY_MS)
    assert ledger.usage(TEAM).limits[0].limit == 6


# -- shadow


def test_a_shadow_account_counts_and_says_what_it_would_have_refused() -> None:
    ledger = a_ledger()
    put(ledger, a_limit(3, Window.DAY), enforcement=Enforcement.SHADOW, when_exhausted=WhenExhausted.TERMINATE)
    spend(ledger, calls(3))
    answer = ledger.reserve(calls(2), hold="h")
    assert isinstance(answer, Granted)
    assert answer.amount == calls(2), "nothing is cut to the room there is"
    (denial,) = answer.shadow
    assert (denial.account, denial.window, denial.limit, denial.spent, denial.requested) == (TEAM, Window.DAY, 3, 3, 2)
    ledger.settle(calls(2))
    assert ledger.usage(TEAM).spent == calls(5)
    assert ledger.usage().state is wire.State.OPEN, "it ends nothing"


def test_a_shadow_account_without_room_has_each_call_ask_so_that_it_is_counted() -> None:
    ledger = a_ledger()
    put(ledger, a_limit(3, Window.DAY), enforcement=Enforcement.SHADOW)
    spend(ledger, calls(3))
    said = len(ledger.records)
    ahead = ledger.do(wire.Reserve("gateway#1", SESSION, calls(1), calls(1), 60_000, speculative=True))
    assert isinstance(ahead, wire.Refused)
    assert len(ledger.records) == said, "nothing was refused to anybody"
    answer = ledger.reserve(calls(1), hold="h")
    assert isinstance(answer, Granted)
    assert len(answer.shadow) == 1
    assert len(ledger.records) == said + 1


def test_shadow_grants_what_was_wanted_not_what_is_left() -> None:
    ledger = a_ledger()
    put(ledger, a_limit(3, Window.DAY), enforcement=Enforcement.SHADOW)
    assert ledger.reserve(calls(5), calls(1)) == Granted(calls(5))


@pytest.mark.parametrize(("shadow", "enforcing"), [(ORGANISATION, TEAM), (TEAM, ORGANISATION), (TEAM, AGENT)])
def test_shadow_softens_no_account_above_or_below(shadow: str, enforcing: str) -> None:
    ledger = a_ledger()
    put(ledger, a_limit(1, Window.DAY), path=shadow, enforcement=Enforcement.SHADOW)
    put(ledger, a_limit(3, Window.DAY), path=enforcing)
    spend(ledger, calls(2))
    answer = ledger.reserve(calls(2))
    assert isinstance(answer, Refused)
    assert answer.account == enforcing
    assert isinstance(ledger.reserve(calls(5), calls(1), hold="h"), Granted)
    assert ledger.limit_usage(enforcing) == (2, 1), "what is granted is what the enforcing one has room for"


def test_a_shadow_accounts_concurrency_keeps_nobody_out() -> None:
    ledger = a_ledger()
    put(ledger, enforcement=Enforcement.SHADOW, concurrent_sessions=1)
    assert isinstance(ledger.open(path=OTHER), wire.Opened)
    put(ledger, concurrent_sessions=2)
    assert reason_of(ledger.open(path="session/team-a/s-3")) is RefusalReason.CONCURRENCY_LIMIT


def test_from_shadow_to_enforced_nothing_increases_until_it_is_below() -> None:
    ledger = a_ledger()
    put(ledger, a_limit(3, Window.DAY), enforcement=Enforcement.SHADOW)
    spend(ledger, calls(5))
    put(ledger, a_limit(3, Window.DAY))
    assert isinstance(ledger.reserve(calls(1)), Refused)
