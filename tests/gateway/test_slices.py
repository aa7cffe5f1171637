"""When a stream's hold grows, by how much, and with how much it begins: arithmetic."""

from hypothesis import given
from hypothesis import strategies as st

from ambit.gateway.progressive.slices import LEAD_TOKENS, LEAST_TOKENS, SLICE_TOKENS, UNDER_WAY_TOKENS, Cover
from ambit.gateway.progressive.typical import CALLS_NEEDED, CALLS_REMEMBERED, LEAST_SLICE_TOKENS, TypicalOutput

KIND, WIDER = ("b", "agent/n/a"), ("b",)


def test_more_is_asked_for_before_it_is_needed_and_a_stream_is_over_before_it_is_used_up() -> None:
    cover = Cover(held=10_000, whole=64_000)
    assert cover.wanted(10_000 - LEAD_TOKENS - UNDER_WAY_TOKENS) == 10_000
    assert cover.wanted(10_001 - LEAD_TOKENS - UNDER_WAY_TOKENS) == 10_000 + SLICE_TOKENS
    assert cover.enough(10_000 - UNDER_WAY_TOKENS)
    assert not cover.enough(10_001 - UNDER_WAY_TOKENS)


def test_what_is_held_whole_is_never_over_and_wants_no_more() -> None:
    cover = Cover(held=500, whole=500)
    assert cover.enough(1_000_000)
    assert cover.enough(None)
    assert cover.wanted(1_000_000) == 500


def test_what_cannot_be_seen_may_be_all_of_it() -> None:
    cover = Cover(held=10_000, whole=64_000)
    assert not cover.enough(None)
    assert (cover.wanted(None), cover.least(None)) == (64_000, 64_000)


def test_what_came_at_a_time_may_come_again_before_a_cut() -> None:
    cover = Cover(held=10_000, whole=64_000).came(3_000)
    assert cover.enough(7_000)
    assert not cover.enough(7_001)
    assert cover.came(10).enough(10_000 - UNDER_WAY_TOKENS)


@given(st.integers(0, 70_000), st.integers(1, 70_000), st.integers(0, 70_000), st.integers(0, 5_000))
def test_what_is_asked_for_covers_what_is_needed_and_is_never_more_than_the_bound(
    held: int, whole: int, shown: int, at_a_time: int
) -> None:
    cover = Cover(min(held, whole), whole, at_a_time)
    wanted = cover.wanted(shown)
    assert cover.held <= wanted <= whole
    quiet = shown <= cover.asks_beyond
    assert not quiet or (wanted == cover.held and cover.enough(shown)), "told nothing, where it had to ask or was over"
    grown = cover.grown(wanted)
    assert grown.enough(shown)
    assert grown.held == whole or grown.needed(shown) + LEAD_TOKENS <= grown.held
    assert cover.least(shown) <= max(wanted, cover.held + LEAST_TOKENS)
    assert cover.grown(cover.least(shown)).enough(shown)


def test_of_what_calls_need_nothing_is_said_before_some_have_ended() -> None:
    typical = TypicalOutput()
    for _ in range(CALLS_NEEDED - 1):
        typical.note((KIND,), 20_000)
    assert typical.of((KIND,)) is None
    typical.note((KIND,), 20_000)
    assert typical.of((KIND,)) == 25_000 + LEAD_TOKENS


def test_one_long_answer_among_many_does_not_count_and_two_do() -> None:
    typical = TypicalOutput()
    for needed in (*[100] * 8, 60_000):
        typical.note((KIND,), needed)
    assert typical.of((KIND,)) == LEAST_SLICE_TOKENS
    typical.note((KIND,), 50_000)
    assert typical.of((KIND,)) == 62_500 + LEAD_TOKENS
    for _ in range(CALLS_REMEMBERED):
        typical.note((KIND,), 100)
    assert typical.of((KIND,)) == LEAST_SLICE_TOKENS, "what was long ago is forgotten"


def test_an_agent_of_which_nothing_is_known_is_taken_for_one_like_the_others() -> None:
    typical = TypicalOutput()
    for _ in range(CALLS_NEEDED):
        typical.note((("b", "agent/n/other"), WIDER), 20_000)
    assert typical.of((KIND, WIDER)) == 25_000 + LEAD_TOKENS
    for _ in range(CALLS_NEEDED):
        typical.note((KIND, WIDER), 8_000)
    assert typical.of((KIND, WIDER)) == 10_000 + LEAD_TOKENS
