"""Spans: what they say, under what they stand, where they go, and that nothing is made while tracing is off."""

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from prometheus_client import REGISTRY

from ambit.settings import SettingsError
from ambit.telemetry import tracing
from ambit.telemetry.tracing import Attribute, Kind, SpanName, spans
from ambit.telemetry.tracing.otel import OtelTracer
from ambit.telemetry.tracing.settings import TracingSettings
from tests.telemetry.collector import Exported, collecting
from tests.telemetry.in_memory import NOWHERE, in_memory

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OTHER = "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-01"
UNSAMPLED = PARENT[:-1] + "0"


# -- off ----------------------------------------------------------------------
def test_while_tracing_is_off_there_is_one_span_which_is_none() -> None:
    assert not tracing.on()
    headers = [(b"traceparent", PARENT.encode())]
    for span in (
        tracing.span(SpanName.RECONCILE),
        tracing.part(SpanName.ADMISSION),
        tracing.accept(SpanName.MODEL_CALL, headers),
        tracing.answer(SpanName.LEDGER_BATCH, {"traceparent": PARENT}),
        tracing.current(),
        tracing.NONE.active(),
    ):
        assert span is tracing.NONE
    with tracing.NONE as span:
        span.set(Attribute.HOLD, "Found")
        span.rename("x")
        span.note(tracing.SpanEvent.QUEUED)
        span.fail("x")
        assert (tracing.outgoing(), dict(tracing.outgoing_text()), tracing.caller()) == ((), {}, None)
    tracing.carry([PARENT])
    assert dict(tracing.carried()) == {}


def test_while_tracing_is_off_no_process_loads_the_sdk() -> None:
    program = (
        "import sys, ambit.gateway.main, ambit.ledger.main, ambit.control.main, ambit.cli.processes\n"
        "from ambit.telemetry import tracing\n"
        "with tracing.exporting('gateway', {}): pass\n"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


# -- settings -------------------------------------------------------------------
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318/"}


def test_tracing_is_off_without_an_endpoint_and_where_the_sdk_is_disabled() -> None:
    assert TracingSettings.from_env({}) is None
    assert TracingSettings.from_env({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}) is None
    assert TracingSettings.from_env({**ENDPOINT, "OTEL_SDK_DISABLED": "true"}) is None


def test_the_standard_variables_say_where_to_and_how_much() -> None:
    sampled = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"}
    read = TracingSettings.from_env({**ENDPOINT, **sampled, "OTEL_BSP_MAX_QUEUE_SIZE": "7", "HOSTNAME": "gateway-0"})
    assert read == TracingSettings(
        "http://collector:4318/v1/traces", "parentbased_traceidratio", 0.25, max_waiting=7, instance="gateway-0"
    )
    own = TracingSettings.from_env({**ENDPOINT, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://traces/x"})
    assert own is not None
    assert own.traces_url == "https://traces/x"


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"}, "write for example OTEL_EXPORTER_OTLP_ENDPOINT=http://"),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"),
        ({**ENDPOINT, "OTEL_TRACES_SAMPLER": "sometimes"}, "OTEL_TRACES_SAMPLER='sometimes'"),
        (
            {**ENDPOINT, "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "10%"},
            "OTEL_TRACES_SAMPLER_ARG='10%'",
        ),
        (
            {**ENDPOINT, "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "nan"},
            "OTEL_TRACES_SAMPLER_ARG='nan'",
        ),
        ({**ENDPOINT, "OTEL_BSP_MAX_QUEUE_SIZE": "0"}, "OTEL_BSP_MAX_QUEUE_SIZE"),
    ],
)
def test_what_is_wrong_is_named_with_what_to_write(environ: Mapping[str, str], named: str) -> None:
    with pytest.raises(SettingsError) as refused:
        TracingSettings.from_env(environ)
    assert named in str(refused.value)


def test_an_endpoint_that_is_refused_is_not_repeated() -> None:
    with pytest.raises(SettingsError) as refused:
        TracingSettings.from_env({"OTEL_EXPORTER_OTLP_ENDPOINT": "user:canary@collector"})
    assert "canary" not in str(refused.value)


# -- the tree ---------------------------------------------------------------------
def test_spans_stand_under_the_one_that_is_current() -> None:
    with in_memory() as memory:
        headers = [(b"traceparent", PARENT.encode()), (b"tracestate", b"vendor=1")]
        with tracing.accept(SpanName.MODEL_CALL, headers, Kind.CLIENT) as call:
            with tracing.part(SpanName.ADMISSION) as admission:
                admission.set(Attribute.HOLD, "Found")
                admission.set(Attribute.BOUND, None)
            later = tracing.part(SpanName.SETTLEMENT)
            with later.active():
                sent = dict(tracing.outgoing())
            with tracing.apart():
                assert tracing.part(SpanName.UPSTREAM) is tracing.NONE
            assert tracing.current() is call
        assert tracing.current() is tracing.NONE
        later.end()
        ended = memory.ended()
    root, settlement = ended["model call"], ended["settlement"]
    assert root.parent is not None
    assert (f"{root.parent.trace_id:032x}", f"{root.parent.span_id:016x}") == (PARENT[3:35], PARENT[36:52])
    assert [ended[name].parent for name in ("admission", "settlement")] == [root.context, root.context]
    assert ended["admission"].attributes == {"ambit.hold": "Found"}
    assert settlement.context is not None
    assert sent == {
        b"traceparent": f"00-{PARENT[3:35]}-{settlement.context.span_id:016x}-01".encode(),
        b"tracestate": b"vendor=1",
    }


def test_a_part_of_what_is_not_traced_is_not_traced() -> None:
    with in_memory() as memory:
        with tracing.part(SpanName.LEDGER_COMMIT) as part:
            assert part is tracing.NONE
        assert memory.ended() == {}


async def test_tasks_begun_in_a_span_are_under_it_and_those_apart_are_not() -> None:
    async def work(name: SpanName) -> None:
        with tracing.part(name):
            pass

    with in_memory() as memory:
        with tracing.span(SpanName.SESSION_OPEN):
            inside = asyncio.create_task(work(SpanName.ISOLATE_OPEN))
            with tracing.apart():
                apart = asyncio.create_task(work(SpanName.UPSTREAM))
        await asyncio.gather(inside, apart)
        ended = memory.ended()
    assert set(ended) == {"session open", "isolate open"}
    assert ended["isolate open"].parent == ended["session open"].context


def test_an_error_is_told_by_its_type_and_no_word_of_it() -> None:
    with in_memory() as memory:
        with pytest.raises(ValueError, match="canary"), tracing.span(SpanName.RECONCILE):
            raise ValueError("canary")
        span = memory.ended()["reconcile"]
    assert span.attributes == {"error.type": "ValueError"}
    assert not span.status.is_ok
    assert "canary" not in span.to_json()


# -- sampling ---------------------------------------------------------------------
def test_the_callers_decision_holds_and_is_passed_on() -> None:
    with in_memory() as memory:
        with tracing.accept(SpanName.MODEL_CALL, [(b"traceparent", UNSAMPLED.encode())]) as call:
            assert not call.recording
            assert tracing.caller() is None
            passed_on = dict(tracing.outgoing())[b"traceparent"]
        assert memory.ended() == {}
    assert (passed_on[:36], passed_on[-2:]) == (UNSAMPLED[:36].encode(), b"00")


def test_of_the_traces_that_begin_here_as_many_are_sampled_as_is_said() -> None:
    with in_memory(TracingSettings(NOWHERE.traces_url, "parentbased_traceidratio", 0.0)) as memory:
        with tracing.span(SpanName.RECONCILE) as own:
            assert not own.recording
        with tracing.accept(SpanName.MODEL_CALL, [(b"traceparent", PARENT.encode())]) as theirs:
            assert theirs.recording
        assert set(memory.ended()) == {"model call"}


# -- batches ----------------------------------------------------------------------
def test_a_batch_stands_under_its_first_caller_and_is_linked_to_the_others() -> None:
    with in_memory() as memory:
        tracing.carry([None, PARENT, OTHER, PARENT])
        headers = dict(tracing.carried())
        tracing.carry([None])
        assert dict(tracing.carried()) == {}
        with tracing.answer(SpanName.LEDGER_BATCH, headers):
            pass
        batch = memory.ended()["ledger batch"]
    assert headers == {"traceparent": PARENT, "x-ambit-traces": OTHER}
    assert batch.parent is not None
    assert f"{batch.parent.span_id:016x}" == PARENT[36:52]
    assert [f"{link.context.span_id:016x}" for link in batch.links] == [OTHER[36:52]]


@pytest.mark.parametrize("first", ["", "x", UNSAMPLED, "\U0001f480" * 1000])
def test_a_batch_that_no_sampled_caller_asked_for_is_not_traced(first: str) -> None:
    with in_memory():
        headers = {"traceparent": first, "x-ambit-traces": OTHER}
        assert tracing.answer(SpanName.LEDGER_BATCH, headers) is tracing.NONE


def test_links_are_bounded_and_what_is_no_context_is_left_out() -> None:
    with in_memory() as memory:
        others = ",".join(["junk", *(f"00-{'a' * 32}-{number:016x}-01" for number in range(1, 1000))])
        with tracing.answer(SpanName.LEDGER_BATCH, {"traceparent": PARENT, "x-ambit-traces": others}):
            pass
        assert len(memory.ended()["ledger batch"].links) == spans.MAX_CALLERS - 2


# -- export -----------------------------------------------------------------------
class Stuck(SpanExporter):
    """A collector that takes nothing until it is let go."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.let_go = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.asked.set()
        self.let_go.wait()
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self.let_go.set()


def _counted() -> dict[str, float]:
    return {
        result: REGISTRY.get_sample_value("ambit_trace_spans_total", {"result": result}) or 0.0
        for result in ("Exported", "Failed", "Dropped")
    }


def _since(before: Mapping[str, float]) -> dict[str, float]:
    return {result: count - before[result] for result, count in _counted().items()}


def test_as_many_spans_wait_as_may_and_the_others_are_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2")
    before, stuck = _counted(), Stuck()
    tracer = OtelTracer("test", TracingSettings(NOWHERE.traces_url, max_waiting=5), stuck)
    for _ in range(12):  # no wait: each is taken or dropped at once, whatever the collector does
        tracer.begin("x", Kind.INTERNAL, None).end()
    stuck.asked.wait()
    assert _since(before) == {"Exported": 0, "Failed": 0, "Dropped": 7}
    stuck.let_go.set()
    tracer.stop(60.0)
    assert _since(before) == {"Exported": 5, "Failed": 0, "Dropped": 7}


def test_a_process_that_ends_does_not_wait_for_a_collector_that_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
    before, stuck = _counted(), Stuck()
    tracer = OtelTracer("test", NOWHERE, stuck)
    tracer.begin("x", Kind.INTERNAL, None).end()
    stuck.asked.wait()
    tracer.stop(0.01)  # returns though the export has not
    assert _since(before)["Dropped"] == 1
    assert stuck.let_go.is_set()  # and the exporter was told


def test_a_collector_that_is_not_there_costs_the_spans_and_nothing_else() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        before = _counted()
        with tracing.exporting("test", {"OTEL_EXPORTER_OTLP_ENDPOINT": url}), tracing.span(SpanName.RECONCILE):
            pass
        assert not tracing.on()
        assert sum(_since(before).values()) >= 1
        assert _since(before)["Exported"] == 0


async def test_what_waits_is_exported_when_the_process_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    with collecting() as collector:
        with tracing.exporting("ledger", collector.environ), tracing.span(SpanName.LEDGER_RECOVERY) as span:
            span.set(Attribute.EPOCH, 3)
        (exported,) = await collector.until(lambda spans: bool(spans))
    assert isinstance(exported, Exported)
    assert (exported.service, exported.name, exported.attributes) == (
        "ambit-ledger",
        "ledger recovery",
        {"ambit.ledger.epoch": 3},
    )
