"""Trace context as it stands in headers (W3C Trace Context, level 2). Pure, and strict: it comes from strangers.

What is malformed, too long or there twice is as if it were not there: a call never fails by it, and nothing of it is
logged.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

Headers = Iterable[tuple[bytes, bytes]]
"""Names in any case."""
TRACEPARENT: Final = b"traceparent"
TRACESTATE: Final = b"tracestate"
MAX_STATE_BYTES: Final = 512
"""As much as everybody has to pass on; more is dropped whole."""
MAX_STATE_MEMBERS: Final = 32
_MAX_PARENT_BYTES: Final = 256
_PARENT: Final = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[\x20-\x7e]*)?")
_STATE_MEMBER: Final = re.compile(
    r"((?:[a-z][_0-9a-z\-*/]{0,255})|(?:[a-z0-9][_0-9a-z\-*/]{0,240}@[a-z][_0-9a-z\-*/]{0,13}))"
    r"=([\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e])"
)


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A span of somebody else's, under which ours stand."""

    trace_id: int
    span_id: int
    sampled: bool
    state: tuple[tuple[str, str], ...] = ()
    """What tracing systems on the way have added, to be passed on."""


def parse_parent(value: bytes) -> TraceContext | None:
    """The context of a `traceparent`; None for one that is none."""
    match = _PARENT.fullmatch(value) if len(value) <= _MAX_PARENT_BYTES else None
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    if version == b"ff" or (version == b"00" and more is not None):
        return None
    context = TraceContext(int(trace_id, 16), int(span_id, 16), bool(int(flags, 16) & 1))
    return context if context.trace_id and context.span_id else None


def parse_state(values: list[bytes]) -> tuple[tuple[str, str], ...]:
    """The members of `tracestate`, which may come in several headers; none where one of them is wrong."""
    if sum(len(value) + 1 for value in values) > MAX_STATE_BYTES + 1:
        return ()
    members: dict[str, str] = {}
    for written in b",".join(values).decode("latin-1").split(","):
        member = written.strip(" \t")
        if not member:
            continue
        match = _STATE_MEMBER.fullmatch(member)
        if match is None or match[1] in members:
            return ()
        members[match[1]] = match[2]
    return tuple(members.items()) if len(members) <= MAX_STATE_MEMBERS else ()


def of_headers(headers: Headers) -> TraceContext | None:
    """The context that a request came with."""
    parents: list[bytes] = []
    states: list[bytes] = []
    for name, value in headers:
        match name.lower():
            case b"traceparent":
                parents.append(value)
            case b"tracestate":
                states.append(value)
            case _:
                pass
    context = parse_parent(parents[0]) if len(parents) == 1 else None
    if context is None or not states:
        return context
    return TraceContext(context.trace_id, context.span_id, context.sampled, parse_state(states))


def parent_header(trace_id: int, span_id: int, sampled: bool) -> str:
    """The value of `traceparent`."""
    return f"00-{trace_id:032x}-{span_id:016x}-{sampled:02x}"
