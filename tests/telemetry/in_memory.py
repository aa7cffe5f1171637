"""Tracing of this process into memory, while a block runs."""

from collections.abc import Generator
from contextlib import contextmanager

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from ambit.telemetry.tracing import spans
from ambit.telemetry.tracing.otel import OtelTracer
from ambit.telemetry.tracing.settings import TracingSettings

NOWHERE = TracingSettings("http://127.0.0.1:9/v1/traces")


class InMemory:
    """What was traced in this process."""

    def __init__(self, settings: TracingSettings) -> None:
        self._exporter = InMemorySpanExporter()
        self._tracer = OtelTracer("test", settings, self._exporter)
        spans.use(self._tracer)

    def stop(self) -> list[ReadableSpan]:
        """All that has ended, in that order; nothing more is traced."""
        spans.use(None)
        self._tracer.stop(60.0)
        return list(self._exporter.get_finished_spans())

    def ended(self) -> dict[str, ReadableSpan]:
        """The same by name, the last of each."""
        return {span.name: span for span in self.stop()}


@contextmanager
def in_memory(settings: TracingSettings = NOWHERE) -> Generator[InMemory]:
    """Traces until the block ends, or is told to stop."""
    memory = InMemory(settings)
    try:
        yield memory
    finally:
        memory.stop()
