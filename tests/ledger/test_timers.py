"""Timers: what falls due, in which order, and that what was taken back leaves nothing behind."""

from hypothesis import given
from hypothesis import strategies as st

from ambit.ledger.timers import FEW_SLOTS, NEVER, Timers
from tests.ledger.builders import DAY_MS, HOUR_MS, a_ledger, calls


def test_what_was_taken_back_wakes_nobody() -> None:
    timers: Timers[str] = Timers(1)
    slot = timers.add("a", 1000)
    timers.add("b", 5000)
    timers.remove("a", slot)
    assert timers.next_ms == 5000
    assert timers.due(4999, 9) == []
    assert timers.due(5000, 9) == ["b"]
    assert timers.next_ms == NEVER


def test_a_settled_hold_wakes_nobody_at_its_expiry() -> None:
    ledger = a_ledger()
    idle_ms = ledger.tree.next_due_ms()
    ledger.reserve(calls(1), hold="h#1", expires_in_ms=HOUR_MS)
    assert ledger.tree.next_due_ms() == ledger.now_ms + HOUR_MS
    ledger.settle(calls(1), "h#1")
    assert ledger.tree.next_due_ms() == idle_ms == ledger.now_ms + DAY_MS


def test_what_is_set_and_taken_back_again_and_again_does_not_pile_up() -> None:
    timers: Timers[int] = Timers(1)
    timers.add(-1, 0)
    for number in range(10_000):
        timers.remove(number, timers.add(number, DAY_MS + number))
    assert len(timers) <= 2 + FEW_SLOTS


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=60), st.sampled_from([1, 7]))
def test_all_that_was_not_taken_back_falls_due_once_never_early_and_less_than_a_grain_late(
    steps: list[tuple[int, bool]], grain_ms: int
) -> None:
    timers: Timers[int] = Timers(grain_ms)
    expected: dict[int, int] = {}
    for item, (at_ms, kept) in enumerate(steps):
        slot = timers.add(item, at_ms)
        if kept:
            expected[item] = at_ms
        else:
            timers.remove(item, slot)
    due_ms = {item: -(-at_ms // grain_ms) * grain_ms for item, at_ms in expected.items()}
    for now_ms in range(40):
        assert timers.next_ms == min(due_ms.values(), default=NEVER)
        found = timers.due(now_ms, 99)
        assert set(found) == {item for item, at_ms in due_ms.items() if at_ms <= now_ms}
        for item in found:
            assert now_ms - grain_ms < expected[item] <= now_ms
            del due_ms[item]
