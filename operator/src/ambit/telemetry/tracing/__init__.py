"""Traces: what happens in one call, across the processes that take part. Off unless an OTLP endpoint is set.

`names` has every span and attribute, `context` the headers between processes (pure), `settings` what is asked for;
`spans` is what the rest of Ambit calls, and `otel`, which is imported only when tracing is on, exports.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Final

from ambit.telemetry.tracing import spans
from ambit.telemetry.tracing.names import Attribute, HoldFrom, SpanEvent, SpanName
from ambit.telemetry.tracing.settings import TracingSettings
from ambit.telemetry.tracing.spans import (
    CALLERS_HEADER,
    CONTEXT_HEADERS,
    NONE,
    Kind,
    Span,
    Value,
    accept,
    answer,
    apart,
    caller,
    carried,
    carry,
    current,
    on,
    outgoing,
    outgoing_text,
    part,
    span,
)

__all__ = [
    "CALLERS_HEADER",
    "CONTEXT_HEADERS",
    "NONE",
    "Attribute",
    "HoldFrom",
    "Kind",
    "Span",
    "SpanEvent",
    "SpanName",
    "Value",
    "accept",
    "answer",
    "apart",
    "caller",
    "carried",
    "carry",
    "current",
    "exporting",
    "on",
    "outgoing",
    "outgoing_text",
    "part",
    "span",
]

LAST_SPANS_S: Final = 3.0
"""How long a process that ends waits for the collector to take its last spans."""


@contextmanager
def exporting(component: str, environ: Mapping[str, str]) -> Generator[None]:
    """Traces this process while the block runs, if the environment says where to. Raises SettingsError."""
    settings = TracingSettings.from_env(environ)
    if settings is None:
        yield
        return
    from ambit.telemetry.tracing.otel import OtelTracer

    tracer = OtelTracer(component, settings)
    spans.use(tracer)
    try:
        yield
    finally:
        spans.use(None)
        tracer.stop(LAST_SPANS_S)
