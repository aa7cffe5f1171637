"""Runtime in slices: whatever the ledger grants, the container is told to stop before what is held is used up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambit.control.reconcilers.sandbox import runtime
from ambit.control.reconcilers.sandbox.runtime import Hold
from ambit.policy.runtime_slices import container_margin_ms

START = 1_795_000_000_000


@given(
    granted=st.lists(st.integers(0, 30_000), max_size=20),
    first=st.integers(1_000, 30_000),
    latency_ms=st.integers(0, 500),
)
def test_a_container_never_outlives_what_is_held(granted: list[int], first: int, latency_ms: int) -> None:
    """Plays a run: each renewal gets the next grant, 0 for a refusal or silence; the clock follows the plan."""
    hold = Hold("h", first, 0, START + 60_000)
    now, answers = START, list(granted)
    for _ in range(2_000):
        outlook = runtime.outlook(hold, START, now)
        if outlook.stop:
            break
        if outlook.extension is not None:
            asked = outlook.extension
            amount = min(answers.pop(0), asked.want_ms) if answers and asked.want_ms else 0
            if asked.want_ms == 0 or amount >= asked.at_least_ms:
                hold = Hold("h", hold.granted_ms + amount, asked.sequence, now + asked.expires_in_ms)
                now += min(latency_ms, asked.deadline_ms)
                continue
        assert outlook.look_again_in_ms > 0
        now += outlook.look_again_in_ms
    else:
        raise AssertionError("it never ended")
    ran = now - START
    assert ran <= max(hold.covers_ms - container_margin_ms(hold.covers_ms), 0) + latency_ms
    assert hold.expires_at_ms >= START + hold.covers_ms, "the hold lives as long as what it holds"


STOP_LATENCY_MS = 2_000
"""What a busy node may take, beyond the grace, until a container that ignores SIGTERM is gone."""


@given(covers_ms=st.integers(8_000, 10**7))
def test_a_program_that_ignores_sigterm_on_a_busy_node_overruns_nothing(covers_ms: int) -> None:
    gone = first_stop_ms(Hold("h", covers_ms, 0, 10**9), 0) + runtime.STOP_GRACE_S * 1000 + STOP_LATENCY_MS
    written = gone // 1000 * 1000  # by the kubelet, in whole seconds
    assert runtime.used_ms(0, written, gone) <= covers_ms


def first_stop_ms(hold: Hold, started_ms: int) -> int:
    """When it is told to stop, where nothing more is granted."""
    now = started_ms
    while not (seen := runtime.outlook(hold, started_ms, now)).stop:
        now += seen.look_again_in_ms
    return now


@pytest.mark.parametrize(
    ("covers_ms", "runs_ms"),
    [(1_000, 0), (2_000, 0), (3_000, 1_000), (5_000, 2_500), (6_000, 3_000), (8_000, 4_000), (30_000, 26_000)],
)
def test_what_a_bound_leaves_to_the_program(covers_ms: int, runs_ms: int) -> None:
    assert first_stop_ms(Hold("h", covers_ms, 0, 10**9), 0) == runs_ms


@given(covers_ms=st.integers(0, 10**6))
def test_the_grace_and_the_rounding_always_fit_the_margin(covers_ms: int) -> None:
    assert container_margin_ms(covers_ms) >= runtime.STOP_GRACE_S * 1000 + runtime.ROUNDING_MS
    assert runtime.STOP_GRACE_S > 0, "0 makes the apiserver forget a Pod that runs on"


@given(start=st.integers(0, 10**9), length=st.integers(0, 10**7))
def test_what_is_charged_is_never_less_than_what_ran(start: int, length: int) -> None:
    """The kubelet rounds both instants down to whole seconds."""
    started, finished = start // 1000 * 1000, (start + length) // 1000 * 1000
    used = runtime.used_ms(started, finished, now_ms=0)
    assert length <= used <= length + 2_000


def test_a_clock_that_runs_behind_the_nodes_charges_nothing_negative() -> None:
    assert runtime.used_ms(5_000, None, now_ms=4_000) == 0
    assert runtime.ran_ms(5_000, 4_000) == 0
