"""What a Budget's policies do in the tree: warnings, top-ups, Shadow, and what becomes of sessions at the end."""

import itertools
from typing import Any

import pytest

from ambit.ledger import wire
from ambit.ledger.amounts import MAX_AMOUNT, Amount, Limit, Resource, Window
from ambit.ledger.events import events_of
from ambit.ledger.exhaustion import WAKE_EVERY_MS
from ambit.ledger.wire import Enforcement, Granted, RefusalReason, Refused, TopUp, Wait, Warned, WhenExhausted
from ambit.telemetry.reasons import SessionEnd
from tests.ledger.builders import (
    AGENT,
    DAY_MS,
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

DAY_LIMIT = a_limit(10, Window.DAY)


def put(ledger: Ledger, *limits: Limit, path: str = TEAM, **fields: Any) -> None:
    parent = {TEAM: ORGANISATION, AGENT: TEAM}.get(path)
    assert ledger.do(wire.PutAccount(path, limits, parent, **fields), "operator") == wire.AccountPut()


def spend(ledger: Ledger, amount: Amount, path: str = SESSION) -> wire.Settled:
    hold = f"spent-{len(ledger.journal)}"
    assert isinstance(ledger.reserve(amount, hold=hold, path=path), Granted)
    settled = ledger.settle(amount, hold)
    assert isinstance(settled, wire.Settled)
    return settled


def reason_of(answer: wire.AnyResult) -> RefusalReason | None:
    return answer.reason if isinstance(answer, wire.Denial) else None


def events(ledger: Ledger) -> list[wire.AnyEvent]:
    """What the last step told."""
    return [event for change in ledger.last_changes if (event := events_of(change)) is not None]


def is_replayed(ledger: Ledger) -> bool:
    """Whether the journal gives the tree as it is, by replay and by snapshot."""
    ledger.pass_time(0)
    return ledger.image(ledger.replayed()) == ledger.image() == ledger.image(ledger.through_snapshot())


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


def a_top_up(name: str, amount: int = 5, window: Window = Window.DAY) -> TopUp:
    return TopUp(name, window, Resource.MODEL_CALLS, amount)


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


# -- terminate


def an_exhausted_ledger(answer: WhenExhausted, limit: Limit = DAY_LIMIT) -> Ledger:
    """Ten calls of ten are spent, by two sessions; the next call of either is refused."""
    ledger = a_ledger()
    put(ledger, limit, when_exhausted=answer)
    ledger.open(path=OTHER)
    spend(ledger, calls(9))
    spend(ledger, calls(1), OTHER)
    return ledger


def test_terminate_ends_every_session_of_the_exhausted_account() -> None:
    ledger = an_exhausted_ledger(WhenExhausted.TERMINATE)
    answer = ledger.reserve(calls(1))
    assert reason_of(answer) is RefusalReason.TERMINATED
    for path in (SESSION, OTHER):
        usage = ledger.usage(path)
        assert (usage.state, usage.closed_reason) == (wire.State.ENDED, SessionEnd.BUDGET_EXHAUSTED)
    assert is_replayed(ledger)


@pytest.mark.parametrize("answer", [WhenExhausted.PARK, WhenExhausted.TERMINATE])
def test_what_is_larger_than_any_room_exhausts_nothing(answer: WhenExhausted) -> None:
    ledger = a_ledger()
    put(ledger, DAY_LIMIT, when_exhausted=answer)
    spend(ledger, calls(1))
    assert reason_of(ledger.reserve(calls(11))) is RefusalReason.LIMIT_EXCEEDED
    assert reason_of(ledger.reserve(calls(10))) is RefusalReason.LIMIT_EXCEEDED, "a smaller call has been seen"
    assert ledger.usage().state is wire.State.OPEN
    assert not ledger.usage().parked


@pytest.mark.parametrize("answer", [WhenExhausted.PARK, WhenExhausted.TERMINATE])
def test_a_full_minute_and_what_is_only_held_exhaust_nothing(answer: WhenExhausted) -> None:
    ledger = a_ledger()
    put(ledger, a_limit(3, Window.MINUTE), a_limit(5, Window.DAY), when_exhausted=answer)
    spend(ledger, calls(3))
    assert isinstance(ledger.reserve(calls(1)), Wait)
    ledger.pass_time(MINUTE_MS)
    ledger.reserve(calls(2), hold="others")
    assert isinstance(ledger.reserve(calls(1)), Wait)
    assert not ledger.usage().parked
    assert ledger.usage().state is wire.State.OPEN


# -- park


def test_park_takes_the_session_out_and_gives_its_slot_back() -> None:
    ledger = a_ledger()
    put(ledger, DAY_LIMIT, when_exhausted=WhenExhausted.PARK, concurrent_sessions=2)
    ledger.open(path=OTHER)
    spend(ledger, calls(10))
    ledger.reserve(Amount(runtime_ms=30_000), hold="slice", path=OTHER)
    assert reason_of(ledger.reserve(calls(1))) is RefusalReason.PARKED
    assert wire.AccountParked(SESSION) in events(ledger)
    assert ledger.usage().parked
    assert ledger.usage(TEAM).sessions == 1, "its slot is free at once: it held nothing"
    assert reason_of(ledger.reserve(calls(1), path=OTHER)) is RefusalReason.PARKED
    assert ledger.usage(TEAM).sessions == 1, "this one still holds its slice"
    ledger.settle(Amount(runtime_ms=1000), "slice")
    assert ledger.usage(TEAM).sessions == 0
    assert reason_of(ledger.reserve(Amount(runtime_ms=1))) is RefusalReason.PARKED, "nothing is held while parked"
    assert is_replayed(ledger)


def test_idle_time_of_the_parked_stands_still() -> None:
    ledger = an_exhausted_ledger(WhenExhausted.PARK, a_limit(10, Window.MONTH))
    ledger.reserve(calls(1))
    ledger.pass_time(20 * DAY_MS)
    assert ledger.usage().state is wire.State.OPEN
    assert ledger.usage(OTHER).state is wire.State.ENDED, "the one that was not parked is abandoned"
    assert ledger.usage().parked


def test_a_session_above_a_parked_one_is_not_abandoned() -> None:
    ledger = an_exhausted_ledger(WhenExhausted.PARK, a_limit(10, Window.MONTH))
    sub = "session/team-a/sub"
    ledger.open(path=sub, parent=SESSION)
    assert reason_of(ledger.reserve(calls(1), path=sub)) is RefusalReason.PARKED
    ledger.pass_time(3 * DAY_MS)
    assert ledger.usage(sub).parked
    assert ledger.usage().state is wire.State.OPEN


def test_a_parked_session_is_not_abandoned_while_one_under_it_works() -> None:
    ledger = an_exhausted_ledger(WhenExhausted.PARK, a_limit(10, Window.MONTH))
    above, sub = "session/team-a/above", "session/team-a/sub"
    ledger.open(path=above, grace_ms=1000)
    ledger.open(path=sub, parent=above)
    ledger.reserve(Amount(runtime_ms=1), path=sub)
    ledger.open(path=f"{sub}-2", parent=above)
    assert reason_of(ledger.reserve(calls(1), path=above)) is RefusalReason.PARKED
    ledger.close(f"{sub}-2")
    ledger.pass_time(10_000)
    assert ledger.usage(above).parked
    assert ledger.usage(sub).state is wire.State.OPEN


def woken(ledger: Ledger, upto_ms: int = 10_000) -> list[tuple[str, int]]:
    """Who wakes within `upto_ms`, and after how long."""
    found: list[tuple[str, int]] = []
    for after_ms in range(0, upto_ms, 10):
        ledger.pass_time(0 if after_ms == 0 else 10)
        found.extend((event.path, after_ms) for event in events(ledger) if isinstance(event, wire.AccountWoken))
    return found


def test_the_parked_wake_at_the_new_window_first_in_first_out_one_after_the_other() -> None:
    ledger = an_exhausted_ledger(WhenExhausted.PARK)
    third = "session/team-a/s-3"
    ledger.open(path=third)
    for path in (OTHER, third, SESSION):
        assert reason_of(ledger.reserve(calls(1), path=path)) is RefusalReason.PARKED
    ledger.pass_time(12 * HOUR_MS - 1)
    assert ledger.usage(OTHER).parked
    assert is_replayed(ledger)
    ledger.now_ms += 1
    found = woken(ledger)
    assert [path for path, _ in found] == [OTHER, third, SESSION]
    assert min(later - sooner for (_, sooner), (_, later) in itertools.pairwise(found)) >= WAKE_EVERY_MS
    assert ledger.usage(TEAM).sessions == 3
    assert isinstance(ledger.reserve(calls(1), path=OTHER), Granted)
    assert is_replayed(ledger)


@pytest.mark.parametrize(
    "change",
    [
        {"limits": (a_limit(11, Window.DAY),)},
        {"limits": (DAY_LIMIT,), "top_ups": (a_top_up("more", 1),)},
        {"limits": ()},
        {"limits": (DAY_LIMIT,), "when_exhausted": WhenExhausted.DENY},
        {"limits": (DAY_LIMIT,), "enforcement": Enforcement.SHADOW},
    ],
)
def test_the_parked_wake_when_room_is_made_or_nobody_parks_any_more(change: dict[str, Any]) -> None:
    ledger = an_exhausted_ledger(WhenExhausted.PARK)
    ledger.reserve(calls(1))
    assert woken(ledger, 100) == []
    limits: tuple[Limit, ...] = change["limits"]
    fields: dict[str, Any] = {"when_exhausted": WhenExhausted.PARK} | change
    del fields["limits"]
    put(ledger, *limits, **fields)
    assert [path for path, _ in woken(ledger, 100)] == [SESSION]
    assert not ledger.usage().parked


def test_a_correction_of_what_is_spent_wakes_the_parked() -> None:
    ledger = an_exhausted_ledger(WhenExhausted.PARK)
    ledger.reserve(calls(1))
    ledger.do(wire.Adjust(TEAM, Resource.MODEL_CALLS, -1, "an outage", "ada"), "operator")
    assert [path for path, _ in woken(ledger, 100)] == [SESSION]


def test_who_wakes_needs_a_slot_like_everybody_else() -> None:
    ledger = a_ledger()
    put(ledger, DAY_LIMIT, when_exhausted=WhenExhausted.PARK, concurrent_sessions=1)
    spend(ledger, calls(10))
    ledger.reserve(calls(1))
    ledger.open(path=OTHER)
    put(ledger, a_limit(20, Window.DAY), when_exhausted=WhenExhausted.PARK, concurrent_sessions=1)
    assert woken(ledger, 3000) == []
    ledger.close(OTHER)
    assert [path for path, _ in woken(ledger, 3000)] == [SESSION]


@pytest.mark.parametrize("how", ["close", "kill", "remove"])
def test_a_parked_session_that_ends_leaves_the_lot(how: str) -> None:
    ledger = an_exhausted_ledger(WhenExhausted.PARK)
    for path in (SESSION, OTHER):
        ledger.reserve(calls(1), path=path)
    end, path = {"close": (ledger.close, SESSION), "kill": (ledger.kill, SESSION), "remove": (ledger.remove, TEAM)}[how]
    end(path)
    assert ledger.usage().state is wire.State.ENDED
    assert is_replayed(ledger)
    ledger.pass_time(12 * HOUR_MS)
    assert [path for path, _ in woken(ledger, 200)] in ([OTHER], [])
    assert ledger.usage(TEAM).sessions == (0 if how == "remove" else 1)
    assert is_replayed(ledger)


def test_who_is_refused_again_is_parked_again_behind_the_others() -> None:
    ledger = an_exhausted_ledger(WhenExhausted.PARK)
    for path in (SESSION, OTHER):
        ledger.reserve(calls(1), path=path)
    put(ledger, a_limit(11, Window.DAY), when_exhausted=WhenExhausted.PARK)
    ledger.pass_time(0)
    spend(ledger, calls(1))
    assert reason_of(ledger.reserve(calls(1))) is RefusalReason.PARKED
    assert woken(ledger, 200) == []
    put(ledger, a_limit(20, Window.DAY), when_exhausted=WhenExhausted.PARK)
    assert [path for path, _ in woken(ledger, 200)] == [OTHER, SESSION]


def test_speculative_holds_park_nobody() -> None:
    ledger = an_exhausted_ledger(WhenExhausted.PARK)
    op = wire.Reserve("ahead#1", SESSION, calls(1), calls(1), HOUR_MS, speculative=True)
    assert isinstance(ledger.do(op), wire.Denial)
    assert not ledger.usage().parked


def test_an_overrun_is_spent_by_the_parked_too() -> None:
    """What is under way when a session is parked is settled as always."""
    ledger = a_ledger()
    put(ledger, a_limit(10, Window.DAY), a_limit(100, Window.DAY, Resource.TOKENS), when_exhausted=WhenExhausted.PARK)
    ledger.reserve(tokens(10), hold="h")
    spend(ledger, calls(10))
    assert reason_of(ledger.reserve(calls(1))) is RefusalReason.PARKED
    assert ledger.settle(tokens(12)) == wire.Settled(tokens(2))
    assert ledger.usage(TEAM).spent == tokens(12) + calls(10)
