"""An OpenTelemetry collector on loopback, in a thread of its own: takes spans by OTLP over HTTP, and keeps them."""

import asyncio
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage
from opentelemetry.proto.trace.v1.trace_pb2 import Status

PATIENCE_S = 60.0
"""For a hang; spans are exported within milliseconds (`BATCHES`)."""
BATCHES = {"OTEL_BSP_SCHEDULE_DELAY": "20"}


@dataclass(frozen=True)
class Exported:
    """One span as it arrived."""

    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    """Empty: the first of its trace."""
    attributes: dict[str, str | int | float | bool]
    events: tuple[str, ...]
    links: tuple[str, ...]
    """The spans that it is linked to."""
    failed: bool
    state: str


@dataclass
class Collector:
    """What came in. Read by a test while exporters' threads write."""

    url: str = ""
    bodies: list[bytes] = field(default_factory=list[bytes])
    """Each export as it came: whatever left a process is in one of these."""
    _spans: list[Exported] = field(default_factory=list[Exported])
    _arrived: threading.Condition = field(default_factory=threading.Condition)

    @property
    def environ(self) -> dict[str, str]:
        """What makes a process export to here."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url, **BATCHES}

    @property
    def spans(self) -> list[Exported]:
        """All so far."""
        with self._arrived:
            return list(self._spans)

    def take(self, body: bytes) -> None:
        """Keeps one export."""
        with self._arrived:
            self.bodies.append(body)
            self._spans += _decoded(body)
            self._arrived.notify_all()

    async def until(self, enough: Callable[[list[Exported]], bool]) -> list[Exported]:
        """All spans, once they are enough."""
        return await asyncio.to_thread(self._until, enough)

    def _until(self, enough: Callable[[list[Exported]], bool]) -> list[Exported]:
        with self._arrived:
            assert self._arrived.wait_for(lambda: enough(self._spans), PATIENCE_S), _shown(self._spans)
            return list(self._spans)

    async def trace(self, trace_id: str, *names: str) -> "Tree":
        """The spans of one trace, once it has at least these names, each as often as it stands there."""

        def there(spans: list[Exported]) -> bool:
            present = [span.name for span in tree_of(spans, trace_id).spans]
            return all(present.count(name) >= names.count(name) for name in names)

        return tree_of(await self.until(there), trace_id)


@dataclass(frozen=True)
class Tree:
    """The spans of one trace, and those of a batch that it shares with others."""

    spans: list[Exported]

    def one(self, name: str, *, under: Exported | None = None) -> Exported:
        """The one span of a name, under a certain one if that is given."""
        found = [span for span in self.spans if span.name == name and (under is None or _is_under(span, under))]
        assert len(found) == 1, f"{len(found)} spans {name!r} in\n{_shown(self.spans)}"
        return found[0]

    def under(self, above: Exported) -> list[str]:
        """The names of the spans under one."""
        return [span.name for span in self.spans if _is_under(span, above)]


def tree_of(spans: list[Exported], trace_id: str) -> Tree:
    """The tree of one trace."""
    own = [span for span in spans if span.trace_id == trace_id]
    shared = [span for span in spans if span.trace_id != trace_id and any(_is_under(span, above) for above in own)]
    below = [span for span in spans if span.trace_id != trace_id and any(_is_under(span, above) for above in shared)]
    return Tree([*own, *shared, *below])


def _is_under(span: Exported, above: Exported) -> bool:
    return span.parent_id == above.span_id or above.span_id in span.links


def _shown(spans: Iterable[Exported]) -> str:
    return "\n".join(f"{span.service} {span.name} {span.span_id} under {span.parent_id}" for span in spans)


def _decoded(body: bytes) -> list[Exported]:
    request = ExportTraceServiceRequest.FromString(body)
    return [
        _exported(str(_values(resource.resource.attributes)["service.name"]), span)
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _exported(service: str, span: SpanMessage) -> Exported:
    return Exported(
        service=service,
        name=span.name,
        kind=SpanMessage.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        attributes=_values(span.attributes),
        events=tuple(event.name for event in span.events),
        links=tuple(link.span_id.hex() for link in span.links),
        failed=span.status.code == Status.STATUS_CODE_ERROR,
        state=span.trace_state,
    )


def _values(attributes: Iterable[KeyValue]) -> dict[str, str | int | float | bool]:
    return {each.key: _value(each.value) for each in attributes}


def _value(value: AnyValue) -> str | int | float | bool:
    match value.WhichOneof("value"):
        case "string_value":
            return value.string_value
        case "int_value":
            return value.int_value
        case "double_value":
            return value.double_value
        case "bool_value":
            return value.bool_value
        case other:
            raise AssertionError(f"an attribute of kind {other}")


@contextmanager
def collecting() -> Generator[Collector]:
    """A collector that takes spans while the block runs."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            collector.take(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the standard library's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    serving.start()
    collector.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        serving.join()
