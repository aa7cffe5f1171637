"""What becomes of the sessions of an exhausted account: they end, or are parked and wake."""

import itertools
from typing import Any

import pytest

from ambit.ledger import wire
from ambit.ledger.amounts import Amount, Limit, Resource, Window
from ambit.ledger.exhaustion import WAKE_EVERY_MS
from ambit.ledger.wire import Enforcement, Granted, RefusalReason, Wait, WhenExhausted
from ambit.telemetry.reasons import SessionEnd
from tests.ledger.builders import (
    AGENT,
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    OTHER,
    SESSION,
    TEAM,
    Ledger,
    a_ledger,
    a_limit,
    calls,
    tokens,
)
from tests.ledger.policies import DAY_LIMIT, a_top_up, events, is_replayed, put, reason_of, spend

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


def test_who_waits_for_a_new_day_does_not_wait_for_who_waits_for_good() -> None:
    ledger = a_ledger()
    put(ledger, a_limit(10), a_limit(10, Window.DAY, Resource.TOKENS), when_exhausted=WhenExhausted.PARK)
    ledger.open(path=OTHER)
    spend(ledger, calls(10))
    spend(ledger, tokens(10))
    assert reason_of(ledger.reserve(calls(1))) is RefusalReason.PARKED
    assert reason_of(ledger.reserve(tokens(1), path=OTHER)) is RefusalReason.PARKED
    assert woken(ledger, 100) == []
    assert is_replayed(ledger)
    ledger.pass_time(12 * HOUR_MS - 110)
    assert [path for path, _ in woken(ledger, 200)] == [OTHER]
    assert ledger.usage().parked
    assert is_replayed(ledger)


def test_who_needs_little_does_not_wait_for_who_needs_more_than_there_is() -> None:
    ledger = a_ledger()
    put(ledger, a_limit(10), when_exhausted=WhenExhausted.PARK)
    ledger.open(path=OTHER)
    spend(ledger, calls(10))
    assert reason_of(ledger.reserve(calls(5))) is RefusalReason.PARKED
    assert reason_of(ledger.reserve(calls(1), path=OTHER)) is RefusalReason.PARKED
    put(ledger, a_limit(12), when_exhausted=WhenExhausted.PARK)
    assert [path for path, _ in woken(ledger, 200)] == [OTHER]


def test_who_has_a_slot_does_not_wait_for_who_has_none() -> None:
    ledger = a_ledger()
    put(ledger, path=AGENT, concurrent_sessions=1)
    put(ledger, DAY_LIMIT, when_exhausted=WhenExhausted.PARK)
    ledger.agent(path="agent/team-a/roomy")
    ledger.open(path=OTHER, parent="agent/team-a/roomy")
    spend(ledger, calls(10))
    for path in (SESSION, OTHER):
        assert reason_of(ledger.reserve(calls(1), path=path)) is RefusalReason.PARKED
    ledger.open(path="session/team-a/s-3")
    put(ledger, a_limit(20, Window.DAY), when_exhausted=WhenExhausted.PARK)
    assert [path for path, _ in woken(ledger, 3000)] == [OTHER]
    ledger.close("session/team-a/s-3")
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
