"""What tracing costs a model call, in CPU time: `python -m tests.telemetry.measure_tracing`.

Every call of `ambit.telemetry.tracing` that the data path makes for one model call whose hold is at the ledger, and
nothing else: off, on with a trace that is not sampled, and on with all spans made, encoded and thrown away.
"""

from collections.abc import Sequence
from time import process_time_ns

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from ambit.telemetry import tracing
from ambit.telemetry.tracing import Attribute, HoldFrom, Kind, Span, SpanEvent, SpanName, spans
from ambit.telemetry.tracing.context import Headers
from ambit.telemetry.tracing.otel import OtelTracer
from ambit.telemetry.tracing.settings import TracingSettings

CALLS = 20_000
PARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0"
SAMPLED: Headers = ((b"host", b"gateway"), (b"content-type", b"application/json"), (b"traceparent", PARENT + b"1"))
UNSAMPLED: Headers = ((b"traceparent", PARENT + b"0"),)
OF_CALL, OF_EXCHANGE = tuple(Attribute)[:18], tuple(Attribute)[10:16]


class Nowhere(SpanExporter):
    """Encodes spans as for a collector, and throws them away."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        encode_spans(spans).SerializeToString()
        return SpanExportResult.SUCCESS


def a_call(headers: Headers) -> None:
    """What `calls`, `admission`, `relay`, `settlements`, the ledger's client and its transport ask of tracing."""
    with tracing.accept(SpanName.MODEL_CALL, headers, Kind.CLIENT) as call:
        _say(call, ())
        _say(tracing.current(), OF_CALL)
        with tracing.part(SpanName.ADMISSION):
            tracing.current().set(Attribute.HOLD, HoldFrom.LEDGER.value)
            tracing.carry((tracing.caller(),))
            dict(tracing.carried())
        tracing.current().set(Attribute.REQUEST_MAX_TOKENS, 1000)
        with tracing.part(SpanName.UPSTREAM, Kind.CLIENT):
            tracing.outgoing()
            tracing.current().note(SpanEvent.FIRST_BYTE)
            _say(tracing.current(), OF_EXCHANGE)
        settlement = tracing.part(SpanName.SETTLEMENT)
        with settlement.active():
            tracing.carry((tracing.caller(),))
        dict(tracing.carried())
        _say(tracing.current(), ())
        with tracing.apart():
            tracing.caller()
    settlement.set(Attribute.RESULT, "Settled")
    settlement.end()


def _say(span: Span, attributes: Sequence[Attribute]) -> None:
    if not span.recording:
        return
    for attribute in attributes:
        span.set(attribute, "a value")


def measured(headers: Headers) -> float:
    """Microseconds of CPU time a call, exporting included; the best of five."""
    best = float("inf")
    for _ in range(5):
        began = process_time_ns()
        for _ in range(CALLS // 5):
            a_call(headers)
        best = min(best, (process_time_ns() - began) / (CALLS // 5) / 1000)
    return best


def main() -> None:
    """Prints the three."""
    print(f"off            {measured(SAMPLED):7.2f} µs a call")
    tracer = OtelTracer("measured", TracingSettings("http://127.0.0.1:9/v1/traces", max_waiting=CALLS * 10), Nowhere())
    spans.use(tracer)
    print(f"not sampled    {measured(UNSAMPLED):7.2f} µs a call")
    print(f"sampled        {measured(SAMPLED):7.2f} µs a call, 4 spans")
    spans.use(None)
    tracer.stop(60.0)


if __name__ == "__main__":
    main()
