"""Trace context from strangers: taken where it is right, and otherwise as if it were not there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambit.telemetry.tracing.context import (
    MAX_STATE_BYTES,
    TraceContext,
    of_headers,
    parent_header,
    parse_parent,
    parse_state,
)

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
RIGHT = f"00-{TRACE}-{SPAN}-01".encode()
CONTEXT = TraceContext(int(TRACE, 16), int(SPAN, 16), sampled=True)


def test_a_parent_is_read_as_it_was_written() -> None:
    assert parse_parent(RIGHT) == CONTEXT
    assert parent_header(CONTEXT.trace_id, CONTEXT.span_id, CONTEXT.sampled).encode() == RIGHT
    unsampled = parse_parent(f"00-{TRACE}-{SPAN}-02".encode())
    assert unsampled == TraceContext(CONTEXT.trace_id, CONTEXT.span_id, sampled=False)


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans())
def test_what_we_write_we_read(trace_id: int, span_id: int, sampled: bool) -> None:
    written = parent_header(trace_id, span_id, sampled).encode()
    assert parse_parent(written) == TraceContext(trace_id, span_id, sampled)


def test_a_later_version_may_say_more() -> None:
    assert parse_parent(b"01" + RIGHT[2:] + b"-something new") == CONTEXT


WRONG = [
    b"",
    b"x",
    RIGHT[:-1],
    RIGHT + b"-more",
    RIGHT + b"\n",
    RIGHT.upper(),
    b"ff" + RIGHT[2:],
    b"zz" + RIGHT[2:],
    f"00-{'0' * 32}-{SPAN}-01".encode(),
    f"00-{TRACE}-{'0' * 16}-01".encode(),
    f"00-{TRACE}-{SPAN}-0g".encode(),
    b"01" + RIGHT[2:] + b"-" + b"x" * 300,
    b"01" + RIGHT[2:] + b"-\xff",
    "００".encode() + RIGHT[2:],
    b"-" * 60_000,
]


@pytest.mark.parametrize("value", WRONG, ids=[repr(value[-24:]) for value in WRONG])
def test_a_parent_that_is_none_is_not_there(value: bytes) -> None:
    assert parse_parent(value) is None
    assert of_headers([(b"traceparent", value), (b"tracestate", b"a=1")]) is None


@given(st.binary(max_size=200))
def test_no_parent_however_strange_raises(value: bytes) -> None:
    parse_parent(value)
    parse_state([value])


def test_a_parent_that_came_twice_decides_nothing() -> None:
    assert of_headers([(b"traceparent", RIGHT), (b"traceparent", RIGHT)]) is None


def test_names_of_headers_are_read_in_any_case() -> None:
    assert of_headers([(b"TraceParent", RIGHT)]) == CONTEXT


def test_the_state_may_come_in_pieces() -> None:
    assert parse_state([b"a=1 , b=two\t", b"", b"t@v=x y"]) == (("a", "1"), ("b", "two"), ("t@v", "x y"))


STATES = [
    b"a=1,a=2",
    b"A=1",
    b"a",
    b"a=",
    b"a=b=c",
    b"a=\xff",
    b"a=\x00",
    b"a=" + b"x" * 257,
    b",".join(b"k%d=%b" % (number, b"v" * 200) for number in range(3)),
    b",".join(b"k%d=v" % number for number in range(33)),
]


@pytest.mark.parametrize("value", STATES, ids=[repr(value[:24]) for value in STATES])
def test_a_state_that_is_wrong_is_dropped_whole_and_the_parent_stays(value: bytes) -> None:
    assert parse_state([b"ok=1", value]) == ()
    assert of_headers([(b"traceparent", RIGHT), (b"tracestate", value)]) == CONTEXT


def test_a_state_as_long_as_may_be_is_kept() -> None:
    members = tuple((f"k{number:02}", "v" * 12) for number in range(30))
    written = ",".join(f"{key}={value}" for key, value in members).encode()
    assert len(written) <= MAX_STATE_BYTES
    assert parse_state([written]) == members
