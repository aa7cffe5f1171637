"""Which backend a call goes to, who is out and for how long, and whose turn it is: pure, time and draws given."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambit.api.base import ObjectKey
from ambit.api.model_route import FallbackCause, Provider
from ambit.gateway.attempts.backends import Backends
from ambit.gateway.attempts.choice import Known, NoneLeft, choose
from ambit.gateway.attempts.circuit import FAILURES_TO_OPEN, Circuit, State
from ambit.gateway.attempts.failures import failure_of, retry_after_s
from ambit.policy import RouteBinding
from ambit.policy.price import Price

RATE_LIMITED, UNAVAILABLE, TIMEOUT = FallbackCause.RATE_LIMITED, FallbackCause.UNAVAILABLE, FallbackCause.TIMEOUT
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def a_backend(name: str, priority: int = 0, weight: int = 1, max_concurrent: int | None = None) -> RouteBinding:
    return RouteBinding(
        name="smart",
        route=ObjectKey("platform", "smart"),
        backend=name,
        provider=Provider.OPENAI,
        url="http://backend",
        model="m",
        credential=None,
        price=Price(1, 1, 1, 1),
        context_tokens=1000,
        max_output_tokens=100,
        prompt_overhead_tokens=0,
        priority=priority,
        weight=weight,
        max_concurrent=max_concurrent,
    )


def chosen(
    backends: list[RouteBinding], draw: float = 0.0, tried: set[str] | None = None, **known: Known
) -> str | NoneLeft:
    all_known = {backend.backend: known.get(backend.backend, Known()) for backend in backends}
    choice = choose(backends, all_known, tried or set(), draw)
    return choice.backend if isinstance(choice, RouteBinding) else choice


# -- the choice ---------------------------------------------------------------------

OUT = Known(takes_calls=False, cause=RATE_LIMITED, out_for_s=7)
FULL = Known(has_room=False)


def test_the_lowest_priority_is_called_first_and_the_next_where_it_cannot_be() -> None:
    backends = [a_backend("spare", priority=2), a_backend("first"), a_backend("second", priority=1)]
    assert chosen(backends) == "first"
    assert chosen(backends, first=OUT) == "second"
    assert chosen(backends, tried={"first"}) == "second"
    assert chosen(backends, first=FULL, second=OUT) == "spare"


@pytest.mark.parametrize(
    ("draw", "name"), [(0.0, "a"), (0.24, "a"), (0.26, "b"), (0.74, "b"), (0.76, "c"), (0.999, "c")]
)
def test_the_weight_is_a_share_among_those_of_one_priority(draw: float, name: str) -> None:
    backends = [
        a_backend("a", weight=1),
        a_backend("b", weight=2),
        a_backend("c", weight=1),
        a_backend("d", priority=1),
    ]
    assert chosen(backends, draw) == name


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9)), min_size=1, max_size=8), st.floats(0, 1, exclude_max=True)
)
def test_whatever_is_drawn_one_of_the_lowest_priority_is_chosen(terms: list[tuple[int, int]], draw: float) -> None:
    backends = [a_backend(f"b{index}", priority, weight) for index, (priority, weight) in enumerate(terms)]
    name = chosen(backends, draw)
    (found,) = [backend for backend in backends if backend.backend == name]
    assert found.priority == min(priority for priority, _ in terms)


def test_where_all_are_full_one_is_chosen_to_wait_for() -> None:
    assert chosen([a_backend("a"), a_backend("b", priority=1)], a=FULL, b=FULL) == "a"
    assert chosen([a_backend("a"), a_backend("b", priority=1)], a=OUT, b=FULL) == "b"


def test_where_none_is_left_it_is_said_why_and_when_the_first_is_back() -> None:
    longer = Known(takes_calls=False, cause=UNAVAILABLE, out_for_s=30)
    assert chosen([a_backend("a"), a_backend("b")], a=longer, b=OUT) == NoneLeft((UNAVAILABLE, RATE_LIMITED), 7)
    assert chosen([a_backend("a")], tried={"a"}) == NoneLeft((), None)


# -- the circuit --------------------------------------------------------------------


def failing(times: int, now_s: float = 0.0, circuit: Circuit | None = None) -> Circuit:
    circuit = circuit or Circuit()
    for _ in range(times):
        circuit = circuit.failed(UNAVAILABLE, now_s)
    return circuit


def test_it_opens_after_so_many_failures_in_a_row_and_not_before() -> None:
    almost = failing(FAILURES_TO_OPEN - 1)
    assert almost.takes_calls(0)
    assert failing(FAILURES_TO_OPEN - 1, circuit=almost.completed()).takes_calls(0), "a call that completes begins anew"
    opened = almost.failed(TIMEOUT, 0)
    assert (opened.state(0), opened.state(4.99), opened.state(5)) == (State.OPEN, State.OPEN, State.HALF_OPEN)
    assert not opened.takes_calls(4.99)


def test_half_open_lets_one_call_try() -> None:
    half = failing(FAILURES_TO_OPEN)
    assert half.takes_calls(5)
    trying = half.sent(5)
    assert not trying.takes_calls(5)
    assert trying.abandoned().takes_calls(5), "its client left: another may try"
    well = trying.answered(6)
    assert (well.state(6), well.takes_calls(6)) == (State.CLOSED, True)
    assert well.failed(UNAVAILABLE, 7).state(7) is State.OPEN, "it answers and breaks off: it is no better"
    assert well.completed() == replace(Circuit(), out_until_s=well.out_until_s, cause=UNAVAILABLE)


def test_each_time_it_opens_it_rests_twice_as_long_up_to_half_a_minute() -> None:
    circuit, now_s, rests = failing(FAILURES_TO_OPEN), 0.0, list[float]()
    for _ in range(6):
        rests.append(circuit.out_until_s - now_s)
        now_s = circuit.out_until_s
        circuit = circuit.sent(now_s).failed(UNAVAILABLE, now_s)
    assert rests == [5, 10, 20, 30, 30, 30]


def test_failures_of_calls_that_were_sent_before_it_opened_open_it_no_further() -> None:
    opened = failing(FAILURES_TO_OPEN)
    assert failing(100, 1.0, opened) == opened
    assert opened.completed() == opened, "nor does a call from before close it"


def test_a_provider_that_asks_to_be_left_alone_is_left_alone_for_so_long() -> None:
    resting = Circuit().failed(RATE_LIMITED, 100, retry_after_s=7)
    assert (resting.state(106.9), resting.state(107)) == (State.RESTING, State.CLOSED)
    assert not resting.takes_calls(106.9)
    assert not resting.completed().takes_calls(106.9), "whatever other calls come to meanwhile"
    longer = failing(FAILURES_TO_OPEN, 100).failed(RATE_LIMITED, 101, retry_after_s=30)
    assert (longer.takes_calls(130.9), longer.takes_calls(131)) == (False, True)


@given(st.lists(st.tuples(st.sampled_from("sacfxr"), st.floats(0, 20)), max_size=60))
def test_whatever_happens_it_takes_calls_again_within_a_minute(steps: list[tuple[str, float]]) -> None:
    circuit, now_s = Circuit(), 0.0
    for step, passes_s in steps:
        now_s += passes_s
        match step:
            case "s" if circuit.takes_calls(now_s):
                circuit = circuit.sent(now_s)
            case "a":
                circuit = circuit.answered(now_s)
            case "c":
                circuit = circuit.completed()
            case "x":
                circuit = circuit.abandoned()
            case "r":
                circuit = circuit.failed(RATE_LIMITED, now_s, retry_after_s=60)
            case "f":
                circuit = circuit.failed(UNAVAILABLE, now_s)
            case _:
                pass
    assert circuit.abandoned().takes_calls(now_s + 60)


# -- what an answer says --------------------------------------------------------------


@pytest.mark.parametrize(
    ("statuses", "cause"),
    [
        ((429,), RATE_LIMITED),
        ((401, 500, 502, 503, 504, 529), UNAVAILABLE),
        ((200, 400, 403, 404, 408, 409, 413, 422), None),
    ],
)
def test_which_answers_are_the_backends_failure(statuses: tuple[int, ...], cause: FallbackCause | None) -> None:
    assert {failure_of(status) for status in statuses} == {cause}


@pytest.mark.parametrize(
    ("name", "value", "seconds"),
    [
        (b"retry-after", b"7", 7),
        (b"retry-after", b"3600", 60),
        (b"retry-after", b"0", 0),
        (b"retry-after-ms", b"1500", 1.5),
        (b"retry-after", b"Fri, 02 Jan 2026 03:04:35 GMT", 30),
        (b"retry-after", b"Fri, 02 Jan 2026 03:00:00 GMT", 0),
        (b"retry-after", b"Fri, 02 Jan 2099 03:00:00 GMT", 60),
        (b"retry-after", b"soon", None),
        (b"retry-after", b"-5", None),
        (b"retry-after", b"9" * 400, None),
        (b"retry-after", b"\xff", None),
        (b"x-other", b"7", None),
    ],
)
def test_how_long_a_provider_asks_to_be_left_alone(name: bytes, value: bytes, seconds: float | None) -> None:
    assert retry_after_s(((name, value),), NOW) == seconds


# -- what a process knows ----------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


async def test_of_many_calls_no_more_are_under_way_than_may_be_and_who_waits_is_served_in_turn() -> None:
    backends, backend = Backends(Clock()), a_backend("a", max_concurrent=2)
    assert [backends.enter(backend), backends.enter(backend)] == [None, None]
    places = [backends.enter(backend) for _ in range(3)]
    first, second, third = [place for place in places if place is not None]
    assert not backends.known([backend])["a"].has_room
    first.cancel()  # gave up
    backends.leave(backend)
    await asyncio.sleep(0)
    assert (second.done(), third.done()) == (True, False)
    assert not backends.known([backend])["a"].has_room
    backends.leave(backend)
    assert third.done()
    late = backends.enter(backend)
    assert late is not None, "full again"
    late.cancel()
    backends.leave(backend)
    backends.leave(backend)
    assert backends.known([backend])["a"].has_room


def test_what_is_out_is_said_and_back_in_its_time() -> None:
    clock = Clock()
    changes: list[float] = []
    backends, backend = Backends(clock, lambda: changes.append(clock.now_s)), a_backend("a")
    backends.failed(backend, RATE_LIMITED, 7)
    [out] = backends.out()
    assert (str(out.route), out.backend, out.cause, out.for_s) == ("platform/smart", "a", RATE_LIMITED, 7)
    assert changes == [1000]
    known = backends.known([backend])["a"]
    assert (known.takes_calls, known.cause, known.out_for_s) == (False, RATE_LIMITED, 7)
    clock.now_s += 7
    assert list(backends.out()) == []
    assert backends.known([backend])["a"].takes_calls


def test_a_backend_that_is_edited_begins_anew() -> None:
    backends, backend = Backends(Clock()), a_backend("a")
    backends.failed(backend, RATE_LIMITED, 7)
    assert backends.known([replace(backend, url="http://elsewhere")])["a"].takes_calls
    assert not backends.known([replace(backend, price=Price(2, 2, 2, 2))])["a"].takes_calls
