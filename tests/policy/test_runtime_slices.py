"""Runtime in slices: what is left, when the next is asked for, and when the environment is told to end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambit.policy import runtime_slices
from ambit.policy.runtime_slices import Standing, container_margin_ms, hold_id, isolate_margin_ms

AMOUNTS = st.integers(0, 10**7)


def test_the_next_slice_is_asked_for_when_ten_seconds_are_left() -> None:
    assert Standing(30_000, 0, margin_ms=500).renewal_in_ms == 20_000
    assert Standing(30_000, 20_000, margin_ms=500).renewal_in_ms == 0
    assert Standing(5_000, 0, margin_ms=500).renewal_in_ms == 0


def test_the_environment_is_told_to_end_a_margin_before_what_is_held_is_over() -> None:
    assert Standing(30_000, 10_000, margin_ms=4_000).told_in_ms == 16_000
    assert Standing(30_000, 26_000, margin_ms=4_000).told_in_ms == 0
    assert Standing(30_000, 31_000, margin_ms=4_000).told_in_ms == 0


@given(covers_ms=AMOUNTS, used_ms=AMOUNTS)
def test_a_hold_outlives_what_it_holds_and_with_the_next_slice_that_too(covers_ms: int, used_ms: int) -> None:
    standing = Standing(covers_ms, used_ms, margin_ms=0)
    assert standing.lives_ms > standing.left_ms
    assert standing.renewed_lives_ms > standing.left_ms + runtime_slices.SLICE_MS


@given(covers_ms=AMOUNTS)
def test_an_isolate_keeps_at_least_four_fifths_of_what_is_held(covers_ms: int) -> None:
    told_in_ms = Standing(covers_ms, 0, isolate_margin_ms(covers_ms)).told_in_ms
    assert covers_ms * 4 / 5 <= told_in_ms <= covers_ms
    assert covers_ms - told_in_ms <= 500


@pytest.mark.parametrize(
    ("covers_ms", "margin_ms"), [(0, 2_000), (3_000, 2_000), (5_000, 2_500), (8_000, 4_000), (10**7, 4_000)]
)
def test_a_containers_margin(covers_ms: int, margin_ms: int) -> None:
    assert container_margin_ms(covers_ms) == margin_ms


def test_a_renewal_is_asked_for_before_the_environment_is_told_to_end() -> None:
    for covers_ms in range(0, 120_000, 250):
        for margin_ms in (isolate_margin_ms(covers_ms), container_margin_ms(covers_ms)):
            standing = Standing(covers_ms, 0, margin_ms)
            assert standing.renewal_in_ms <= standing.told_in_ms


def test_each_further_hold_has_an_id_of_its_own() -> None:
    assert hold_id("team-a", "s-1") == "runtime/team-a/s-1"
    assert hold_id("team-a", "s-1", 30_000) == "runtime/team-a/s-1/30000"
    longest = hold_id("n" * 63, "s" * 63, 10**9)
    assert len(longest) <= 128
    assert longest != hold_id("n" * 63, "s" * 62 + "t", 10**9)
