"""Warnings, top-ups, exhaustion and waking, as figures."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambit.ledger.amounts import Resource, Window
from ambit.ledger.exhaustion import (
    SMALLEST_KEPT_MS,
    WAKE_EVERY_MS,
    Bound,
    Parked,
    ParkingLot,
    Raise,
    Said,
    SmallestCalls,
    Standing,
    has_room,
    is_exhausted,
    newly_reached,
    raised,
    unapplied,
)
from ambit.ledger.wire import TopUp

WARN_AT = (50, 80, 95)
DAY_USD: Bound = (Window.DAY, Resource.USD)


@pytest.mark.parametrize(
    ("spent", "said", "reached"),
    [
        (49, None, ()),
        (50, None, (50,)),
        (96, None, (50, 80, 95)),
        (79, Said(7, 50), ()),
        (80, Said(7, 50), (80,)),
        (120, Said(7, 95), ()),
        (50, Said(6, 95), (50,)),  # said in the window before
    ],
)
def test_a_percentage_is_warned_of_once_in_a_window(spent: int, said: Said | None, reached: tuple[int, ...]) -> None:
    assert newly_reached(100, spent, WARN_AT, 7, said) == reached


def test_nothing_spent_warns_of_nothing_even_where_nothing_is_allowed() -> None:
    assert newly_reached(0, 0, WARN_AT, 0, None) == ()
    assert newly_reached(0, 1, WARN_AT, 0, None) == WARN_AT


def test_a_percentage_is_reached_exactly() -> None:
    """Of 3, half is 1.5: reached at 2, not at 1. Whole numbers only."""
    assert newly_reached(3, 1, [50], 0, None) == ()
    assert newly_reached(3, 2, [50], 0, None) == (50,)


@given(
    spends=st.lists(st.integers(0, 60), max_size=20),
    limits=st.lists(st.integers(1, 200), min_size=20, max_size=20),
    warn_at=st.sets(st.integers(1, 100), max_size=5),
)
def test_whatever_becomes_of_the_limit_each_is_said_once(
    spends: list[int], limits: list[int], warn_at: set[int]
) -> None:
    said: Said | None = None
    heard: list[int] = []
    spent = 0
    for more, limit in zip(spends, limits, strict=False):
        spent += more
        found = newly_reached(limit, spent, warn_at, 0, said)
        heard.extend(found)
        if found:
            said = Said(0, found[-1])
    assert len(heard) == len(set(heard))


def top_up(name: str, amount: int = 5) -> TopUp:
    return TopUp(name, Window.DAY, Resource.USD, amount)


def test_a_top_up_is_applied_once_by_its_id() -> None:
    assert unapplied([top_up("a"), top_up("b")], {"a"}) == (top_up("b"),)
    assert unapplied([top_up("a", 500)], {"a"}) == ()
    assert unapplied([top_up("a"), top_up("a", 500)], ()) == (top_up("a"),), "nor twice in one list"


def test_a_raise_counts_in_its_window_alone() -> None:
    raises = {DAY_USD: Raise(7, 500)}
    assert raised(raises, DAY_USD, 7) == 500
    assert raised(raises, DAY_USD, 8) == 0
    assert raised(raises, (Window.DAY, Resource.TOKENS), 7) == 0


@pytest.mark.parametrize(
    ("window", "spent", "need", "smallest", "exhausted"),
    [
        (Window.DAY, 96, 5, 9, True),  # it is the smallest itself
        (Window.HOUR, 96, 5, 5, True),
        (Window.LIFETIME, 100, 1, 1, True),
        (Window.DAY, 96, 5, 4, False),  # a smaller call still has room
        (Window.DAY, 97, 5, 4, True),
        (Window.MINUTE, 100, 5, 1, False),  # a rate exhausts nothing
        (Window.DAY, 0, 101, 1, False),  # larger than the limit: no window would help
        (Window.DAY, 100, 101, 1, False),
        (Window.DAY, 95, 5, 5, False),
    ],
)
def test_exhausted_is_where_no_useful_call_has_room(
    window: Window, spent: int, need: int, smallest: int, exhausted: bool
) -> None:
    assert is_exhausted(window, 100, spent, need, smallest) is exhausted


def test_the_smallest_call_is_that_of_a_week_at_least_and_two_at_most() -> None:
    smallest = SmallestCalls()
    assert smallest.of(0) == 1, "nothing is known: any call may be useful"
    begun_ms = 10 * SMALLEST_KEPT_MS
    smallest.saw({0: 5, 1: 7}, begun_ms)
    smallest.saw({0: 2}, begun_ms + SMALLEST_KEPT_MS - 1)
    smallest.saw({0: 9}, begun_ms + SMALLEST_KEPT_MS)
    assert (smallest.of(0), smallest.of(1)) == (2, 7)
    smallest.saw({0: 8}, begun_ms + 2 * SMALLEST_KEPT_MS)
    assert (smallest.of(0), smallest.of(1)) == (8, 7), "what was not asked for since stays known"
    smallest.saw({2: 3}, begun_ms + 20 * SMALLEST_KEPT_MS)
    assert (smallest.of(0), smallest.of(1), smallest.of(2), smallest.of(3)) == (8, 7, 3, 1)


@pytest.mark.parametrize(
    ("limit", "spent", "room"), [(100, 95, True), (100, 96, False), (None, 1000, True), (4, 96, True)]
)
def test_a_parked_session_may_try_again_where_its_call_fits_or_never_will(
    limit: int | None, spent: int, room: bool
) -> None:
    assert has_room(limit, spent, need=5) is room


def test_parked_sessions_wake_in_the_order_of_their_parking() -> None:
    lot, parked = ParkingLot(), Parked(Window.DAY, Resource.USD, 5)
    for path in ("a", "b", "c", "a"):
        lot.park(path, parked)
    lot.leave("b")
    woken: list[str] = []
    now_ms = 1000
    while lot:
        path = next(lot.with_room(lambda _: Standing(None, 0)))
        assert now_ms >= lot.next_wake_ms
        lot.wake(path, now_ms)
        woken.append(path)
        assert lot.next_wake_ms == now_ms + WAKE_EVERY_MS
        now_ms = lot.next_wake_ms
    assert woken == ["a", "c"]


def test_each_parked_session_is_judged_by_what_it_waits_for_itself() -> None:
    lifetime: Bound = (Window.LIFETIME, Resource.USD)
    lot = ParkingLot([("a", Parked(*lifetime, 5)), ("b", Parked(*DAY_USD, 5))])
    lot.park("c", Parked(*DAY_USD, 2))
    lot.park("d", Parked(*DAY_USD, 9))

    def with_room(lifetime_spent: int, day_spent: int, limit: int = 10) -> list[str]:
        standings = {lifetime: Standing(limit, lifetime_spent), DAY_USD: Standing(limit, day_spent)}
        return list(lot.with_room(standings.__getitem__))

    assert with_room(10, 10) == []
    assert with_room(10, 5) == ["b", "c"]
    assert with_room(5, 8) == ["a", "c"]
    assert with_room(10, 8, limit=8) == ["d"], "it never will fit, and is told so"
    lot.leave("c")
    assert with_room(10, 8) == []
    assert set(lot.bounds()) == {lifetime, DAY_USD}
    lot.leave("a")
    assert with_room(0, 0) == ["b", "d"]
    assert set(lot.bounds()) == {DAY_USD}


def test_at_most_twenty_wake_in_a_second() -> None:
    assert 1000 // WAKE_EVERY_MS == 20
