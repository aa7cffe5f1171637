"""Tracing by OpenTelemetry's SDK: spans leave in batches by a thread of their own, and never hold anything up.

Imported only where tracing is on: the SDK and the exporter take 17 MiB of memory.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_OFF,
    DEFAULT_ON,
    ParentBasedTraceIdRatio,
    Sampler,
    TraceIdRatioBased,
)
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.trace import Span as OtelSpan
from opentelemetry.trace.span import TraceState

import ambit
from ambit.telemetry import metrics
from ambit.telemetry.tracing.context import TraceContext
from ambit.telemetry.tracing.settings import TracingSettings
from ambit.telemetry.tracing.spans import Kind

MAX_ATTRIBUTE_CHARACTERS: Final = 256
"""No name of ours is longer; what is came from elsewhere."""
_KINDS: Final = {Kind.INTERNAL: SpanKind.INTERNAL, Kind.SERVER: SpanKind.SERVER, Kind.CLIENT: SpanKind.CLIENT}
_EXPORTED: Final = metrics.TRACE_SPANS.labels("Exported")
_FAILED: Final = metrics.TRACE_SPANS.labels("Failed")
_DROPPED: Final = metrics.TRACE_SPANS.labels("Dropped")
_log = logging.getLogger(__name__)


class OtelTracer:
    """Makes spans, and exports those that are sampled. `exporter` None: by OTLP over HTTP, as the settings say."""

    def __init__(self, component: str, settings: TracingSettings, exporter: SpanExporter | None = None) -> None:
        # Each try of each batch would be a warning, for as long as the collector is away; what is lost is an error.
        logging.getLogger("opentelemetry").setLevel(logging.ERROR)
        resource = Resource({"service.name": f"ambit-{component}", "service.version": ambit.__version__})
        if settings.instance:
            resource = resource.merge(Resource({"service.instance.id": settings.instance}))
        self._exporter = exporter or OTLPSpanExporter(endpoint=settings.traces_url)
        self._queue = _BoundedQueue(self._exporter, settings.max_waiting)
        self._provider = TracerProvider(
            sampler=_sampler(settings),
            resource=resource.merge(
                OTELResourceDetector().detect()
            ),  # OTEL_SERVICE_NAME and its like have the last word
            shutdown_on_exit=False,
            span_limits=SpanLimits(max_span_attribute_length=MAX_ATTRIBUTE_CHARACTERS),
        )
        self._provider.add_span_processor(self._queue)
        self._tracer = self._provider.get_tracer("ambit", ambit.__version__)

    def begin(
        self, name: str, kind: Kind, parent: OtelSpan | TraceContext | None, linked: Iterable[TraceContext] = ()
    ) -> OtelSpan:
        """See `spans.Tracer`."""
        above = NonRecordingSpan(_span_context(parent)) if isinstance(parent, TraceContext) else parent
        context = Context() if above is None else set_span_in_context(above, Context())
        links = [Link(_span_context(each)) for each in linked]
        return self._tracer.start_span(
            name, context, _KINDS[kind], links=links, record_exception=False, set_status_on_exception=False
        )

    def fail(self, span: OtelSpan) -> None:
        """See `spans.Tracer`."""
        span.set_status(Status(StatusCode.ERROR))

    def stop(self, timeout_s: float) -> None:
        """Exports what waits, for at most so long; what is left then is dropped."""
        # A daemon: a collector that does not answer keeps no process alive.
        flushing = threading.Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        flushing.start()
        flushing.join(timeout_s)
        if flushing.is_alive():
            left = self._queue.give_up()
            self._exporter.shutdown()
            _log.warning("%d spans were not exported: the collector does not answer", left)


class _BoundedQueue(SpanProcessor):
    """The SDK's batches, with a bound that is counted: as many spans wait as may, and more are dropped."""

    def __init__(self, exporter: SpanExporter, max_waiting: int) -> None:
        self._batches = BatchSpanProcessor(_Counted(exporter, self._left), max_queue_size=max_waiting)
        self._max_waiting = max_waiting
        self._waiting = 0
        self._lock = threading.Lock()

    def on_end(self, span: ReadableSpan) -> None:
        context = span.get_span_context()
        if context is None or not context.trace_flags.sampled:
            return
        with self._lock:
            full = self._waiting >= self._max_waiting
            self._waiting += not full
        if full:
            _DROPPED.inc()
        else:
            self._batches.on_end(span)

    def shutdown(self) -> None:
        self._batches.shutdown()

    def force_flush(self, timeout_millis: int | None = None) -> bool:
        return self._batches.force_flush(timeout_millis)

    def give_up(self) -> int:
        """Counts all that still waits as dropped; how many these are."""
        with self._lock:
            left, self._waiting = self._waiting, self._max_waiting
        _DROPPED.inc(left)
        return left

    def _left(self, count: int) -> None:
        with self._lock:
            self._waiting -= count


class _Counted(SpanExporter):
    """An exporter whose batches are counted."""

    def __init__(self, exporter: SpanExporter, left: Callable[[int], None]) -> None:
        self._exporter = exporter
        self._left = left

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            (_EXPORTED if result is SpanExportResult.SUCCESS else _FAILED).inc(len(spans))
            self._left(len(spans))
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _span_context(context: TraceContext) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if context.sampled else TraceFlags.DEFAULT)
    return SpanContext(
        context.trace_id, context.span_id, is_remote=True, trace_flags=flags, trace_state=TraceState(context.state)
    )


def _sampler(settings: TracingSettings) -> Sampler:
    match settings.sampler:
        case "always_on":
            return ALWAYS_ON
        case "always_off":
            return ALWAYS_OFF
        case "traceidratio":
            return TraceIdRatioBased(settings.ratio)
        case "parentbased_always_off":
            return DEFAULT_OFF
        case "parentbased_traceidratio":
            return ParentBasedTraceIdRatio(settings.ratio)
        case _:
            return DEFAULT_ON
