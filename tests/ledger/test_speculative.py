"""Holds for acts that may come: a tenth of the room, given back when a real call needs it, and never taken away."""

from ambit.ledger import wire
from ambit.ledger.amounts import Amount, Resource, Window
from ambit.ledger.changes import Codec
from ambit.ledger.events import events_of
from ambit.ledger.wire import Granted, Released, Settled, Wait
from tests.ledger.builders import HOUR_MS, OTHER, SESSION, TEAM, Ledger, a_ledger, a_limit, calls


def ahead(ledger: Ledger, hold: str, want: int, at_least: int = 1, path: str = SESSION) -> wire.AnyResult:
    return ledger.do(wire.Reserve(hold, path, calls(want), calls(at_least), HOUR_MS, speculative=True))


def last_events(ledger: Ledger) -> list[wire.AnyEvent]:
    return [event for change in Codec.decode(ledger.journal[-1]) if (event := events_of(change)) is not None]


def test_speculative_holds_have_at_most_a_tenth_of_what_remains() -> None:
    ledger = a_ledger(a_limit(100))
    ledger.open(path=OTHER)
    ledger.reserve(calls(20), hold="real")
    assert ahead(ledger, "g#1", 6) == Granted(calls(6))
    assert ahead(ledger, "g#2", 6, path=OTHER) == Granted(calls(2)), "of 80 that remain, 8 in all"
    assert isinstance(ahead(ledger, "g#3", 1), Wait)
    assert last_events(ledger) == [], "nobody is asked to give way to what may never come"
    assert ledger.limit_usage(TEAM) == (0, 28)


def test_a_speculative_hold_is_a_hold_like_any_other() -> None:
    ledger = a_ledger(a_limit(100, Window.DAY))
    ahead(ledger, "g#1", 5)
    ahead(ledger, "g#2", 5)
    assert ledger.settle(calls(3), "g#1") == Settled()
    ledger.pass_time(HOUR_MS)
    assert ledger.limit_usage(TEAM) == (8, 0), "unused and never given back, it is charged"


def test_a_real_call_recalls_what_it_needs_and_waits_until_it_is_given_back() -> None:
    ledger = a_ledger(a_limit(100))
    for sequence in range(1, 4):
        ahead(ledger, f"g#{sequence}", 3)
    denied = ledger.reserve(calls(96))
    assert isinstance(denied, Wait)
    assert last_events(ledger) == [wire.Recalled(("g#1", "g#2"))], "two of them are enough, the oldest"
    assert ledger.limit_usage(TEAM) == (0, 9), "they may be in use: nothing is taken away"
    assert isinstance(ledger.reserve(calls(96)), Wait)
    assert last_events(ledger) == [wire.Recalled(("g#3",))], "none is recalled twice"
    for sequence in range(1, 3):
        assert ledger.release(f"g#{sequence}") == Released()
    assert ledger.reserve(calls(96)) == Granted(calls(96))
    assert ledger.limit_usage(TEAM) == (0, 99)


def test_a_recalled_hold_that_is_in_use_stays_and_is_settled() -> None:
    ledger = a_ledger(a_limit(100))
    ahead(ledger, "g#1", 3)
    ledger.reserve(calls(98))
    assert ledger.extend(1, hold="g#1") == Granted(Amount())
    assert ledger.settle(calls(3), "g#1") == Settled()
    assert ledger.limit_usage(TEAM) == (3, 0)


def test_an_extension_says_that_a_hold_is_in_use() -> None:
    ledger = a_ledger(a_limit(100))
    ahead(ledger, "g#1", 10)
    assert ledger.usage().holds[0].speculative
    ledger.extend(1, hold="g#1")
    assert not ledger.usage().holds[0].speculative
    assert ahead(ledger, "g#2", 10) == Granted(calls(9)), "it is no part of the tenth any more"
    ledger.reserve(calls(90), hold="h")
    assert last_events(ledger) == [wire.Recalled(("g#2",))]


def test_only_what_holds_the_missing_resource_is_recalled() -> None:
    ledger = a_ledger(a_limit(100), a_limit(1000, resource=Resource.TOKENS))
    ledger.do(wire.Reserve("g#1", SESSION, Amount(tokens=9), Amount(tokens=9), HOUR_MS, speculative=True))
    ahead(ledger, "g#2", 5)
    ledger.reserve(calls(99))
    assert last_events(ledger) == [wire.Recalled(("g#2",))]


def test_an_extension_of_a_real_call_recalls_too() -> None:
    ledger = a_ledger(a_limit(100))
    ahead(ledger, "g#1", 5)
    ledger.reserve(calls(90), hold="h")
    assert isinstance(ledger.extend(1, calls(8)), Wait)
    assert last_events(ledger) == [wire.Recalled(("g#1",))]


def test_what_is_speculative_and_recalled_survives_a_snapshot() -> None:
    ledger = a_ledger(a_limit(100))
    ahead(ledger, "g#1", 3)
    ahead(ledger, "g#2", 3)
    ledger.reserve(calls(96))
    image = ledger.image()
    ledger.restart(ledger.through_snapshot())
    assert ledger.image() == image
    assert isinstance(ledger.reserve(calls(99)), Wait)
    assert last_events(ledger) == [wire.Recalled(("g#2",))]


def test_an_id_is_not_both() -> None:
    ledger = a_ledger(a_limit(100))
    ahead(ledger, "g#1", 3)
    assert ledger.do(wire.Reserve("g#1", SESSION, calls(3), calls(1), HOUR_MS)) == wire.IdReused("g#1")
