"""Spans, for the code that is traced. Off until `otel.start`: then a span is `NONE`, and costs a call that returns.

A span entered by `with` is the current one of its task, and of the tasks begun inside; spans begun there are its
children. Callbacks of pooled connections run in the context of whoever made the connection: they are given their span,
and never ask for the current one.
"""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar, Token
from enum import StrEnum
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from ambit.telemetry.tracing.context import (
    TRACEPARENT,
    TRACESTATE,
    Headers,
    TraceContext,
    of_headers,
    parent_header,
    parse_parent,
)
from ambit.telemetry.tracing.names import Attribute, SpanEvent, SpanName

if TYPE_CHECKING:
    from opentelemetry.trace import Span as OtelSpan

Value = str | int | float | bool
MAX_CALLERS: Final = 32
"""How many callers of one batch the ledger is told of."""
CALLERS_HEADER: Final = "x-ambit-traces"
"""The callers of a batch beside the first, whose header is `traceparent`; separated by commas."""
CONTEXT_HEADERS: Final = frozenset({TRACEPARENT, TRACESTATE})
_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class Kind(StrEnum):
    """On which side of a remote call a span is."""

    INTERNAL = "internal"
    SERVER = "server"
    CLIENT = "client"


class Tracer(Protocol):
    """Who makes spans, once tracing is on."""

    def begin(
        self,
        name: str,
        kind: Kind,
        parent: "OtelSpan | TraceContext | None",
        linked: Iterable[TraceContext] = (),
    ) -> "OtelSpan": ...

    def fail(self, span: "OtelSpan") -> None: ...


@runtime_checkable
class Told(Protocol):
    """An exception that says what the spans which it leaves tell of it."""

    def span_attributes(self) -> Mapping[Attribute, Value]: ...


class Span:
    """One span; entered by `with`, it ends with the block, or by `end` where it outlives it."""

    __slots__ = ("_failed", "_otel", "_token")

    def __init__(self, otel: "OtelSpan | None") -> None:
        self._otel = otel
        self._failed = False
        self._token: Token[Span] | None = None

    @property
    def recording(self) -> bool:
        """Whether anything that is said here is kept: ask before working out what to say."""
        return self._otel is not None and self._otel.is_recording()

    @property
    def otel(self) -> "OtelSpan | None":
        """OpenTelemetry's own span; None where tracing is off."""
        return self._otel

    def set(self, attribute: Attribute, value: Value | None) -> None:
        """Says something. None says nothing."""
        if self._otel is not None and value is not None:
            self._otel.set_attribute(attribute.value, value)

    def rename(self, name: str) -> None:
        if self._otel is not None:
            self._otel.update_name(name)

    def note(self, event: SpanEvent) -> None:
        """Something has happened now."""
        if self._otel is not None:
            self._otel.add_event(event.value)

    def fail(self, error_type: str) -> None:
        """What is traced ends in an error of this type. Whoever leaves the block by an exception need not say so."""
        if self._otel is not None and _tracer is not None:
            self._failed = True
            self._otel.set_attribute(Attribute.ERROR_TYPE.value, error_type)
            _tracer.fail(self._otel)

    def end(self) -> None:
        """What is traced is over."""
        if self._otel is not None:
            self._otel.end()

    def active(self) -> "AbstractContextManager[Span]":
        """Makes it the current span while the block runs, and does not end it."""
        return self if self._otel is None else _Active(self)

    def __enter__(self) -> "Span":
        if self._otel is not None:
            self._token = _current.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._otel is None:
            return
        if self._token is not None:
            _current.reset(self._token)
        if error is not None and not self._failed:
            self._tell(error)
        self._otel.end()

    def _tell(self, error: BaseException) -> None:
        """Its type, and no word of its message, which may quote what nobody is to read."""
        told: Mapping[Attribute, Value] = error.span_attributes() if isinstance(error, Told) else {}
        for attribute, value in told.items():
            self.set(attribute, value)
        self.fail(str(told.get(Attribute.ERROR_TYPE, type(error).__name__)))


class _Active:
    """The block in which a span is current."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: Span) -> None:
        self._span = span

    def __enter__(self) -> Span:
        self._token = _current.set(self._span)
        return self._span

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)


NONE: Final = Span(None)
"""The span of all that is not traced: one object, which keeps nothing."""
_tracer: Tracer | None = None
_current: ContextVar[Span] = ContextVar("span", default=NONE)
_carried: ContextVar[Mapping[str, str]] = ContextVar("carried", default=_NO_HEADERS)


def use(tracer: Tracer | None) -> None:
    """Turns tracing on, or with None off."""
    global _tracer
    _tracer = tracer


def on() -> bool:
    """Whether this process traces."""
    return _tracer is not None


def current() -> Span:
    """The span of whoever runs."""
    return NONE if _tracer is None else _current.get()


def span(name: SpanName, kind: Kind = Kind.INTERNAL) -> Span:
    """A span under the current one, or the first of a trace."""
    return NONE if _tracer is None else Span(_tracer.begin(name.value, kind, _current.get().otel))


def part(name: SpanName, kind: Kind = Kind.INTERNAL) -> Span:
    """A span under the current one; `NONE` where there is none: a part of what is not traced is not, either."""
    return (
        NONE
        if _tracer is None or (above := _current.get().otel) is None
        else Span(_tracer.begin(name.value, kind, above))
    )


def accept(name: SpanName, headers: Headers, kind: Kind = Kind.SERVER) -> Span:
    """A span under the one that a request's headers name, or the first of a trace."""
    return NONE if _tracer is None else Span(_tracer.begin(name.value, kind, of_headers(headers)))


def apart() -> AbstractContextManager[Span]:
    """What runs in the block, and the tasks begun there, are no part of the current trace."""
    return NONE if _tracer is None else _Active(NONE)


# -- passing on ---------------------------------------------------------------
def outgoing() -> tuple[tuple[bytes, bytes], ...]:
    """The headers that put whatever a request causes under the current span; none where there is none."""
    otel = current().otel
    if otel is None:
        return ()
    context = otel.get_span_context()
    parent = parent_header(context.trace_id, context.span_id, context.trace_flags.sampled)
    if not context.trace_state:
        return ((TRACEPARENT, parent.encode()),)
    return ((TRACEPARENT, parent.encode()), (TRACESTATE, context.trace_state.to_header().encode()))


def outgoing_text() -> Mapping[str, str]:
    """The same for an HTTP client that takes text."""
    return {name.decode(): value.decode() for name, value in outgoing()} if _tracer is not None else _NO_HEADERS


# -- many callers, one request ----------------------------------------------
def caller() -> str | None:
    """The current span for a batch that it shares with others; None where nobody would miss it."""
    otel = current().otel
    if otel is None:
        return None
    context = otel.get_span_context()
    return parent_header(context.trace_id, context.span_id, True) if context.trace_flags.sampled else None


def carry(callers: Iterable[str | None]) -> None:
    """From here on, `carried` in this task has the headers that name these callers."""
    if _tracer is None:
        return
    sampled = list(dict.fromkeys(each for each in callers if each is not None))[:MAX_CALLERS]
    headers = {TRACEPARENT.decode(): sampled[0]} if sampled else {}
    if len(sampled) > 1:
        headers[CALLERS_HEADER] = ",".join(sampled[1:])
    _carried.set(headers)


def carried() -> Mapping[str, str]:
    """The headers of a batch that is being sent."""
    return _carried.get()


def answer(name: SpanName, headers: Mapping[str, str]) -> Span:
    """A span for what several callers asked for together, as `carried` names them: under the first, linked to the rest.

    `NONE` where no caller is sampled: what nobody asked to see is not traced.
    """
    if _tracer is None:
        return NONE
    parent = _parsed(headers.get(TRACEPARENT.decode(), ""))
    if parent is None or not parent.sampled:
        return NONE
    linked = [_parsed(each) for each in headers.get(CALLERS_HEADER, "").split(",", MAX_CALLERS)[: MAX_CALLERS - 1]]
    return Span(_tracer.begin(name.value, Kind.SERVER, parent, [each for each in linked if each is not None]))


def _parsed(value: str) -> TraceContext | None:
    return parse_parent(value.encode("ascii", "replace"))
