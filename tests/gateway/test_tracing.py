"""The trace of a model call through the real gateway and a real ledger process, as a collector gets it."""

import json
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from itertools import count

import httpx
import openai
import pytest
import pytest_asyncio
from openai.types.chat import ChatCompletionMessageParam

from ambit.gateway.server.limits import Limits
from ambit.telemetry import tracing
from tests.gateway import harness
from tests.gateway.world import PROVIDER_KEY
from tests.ledger import server as ledger_server
from tests.telemetry.collector import BATCHES, Collector, Exported, collecting, tree_of

CANARY = "canary-5d1f0c"
"""Stands in whatever is secret or somebody's own; in no span."""
MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": f"hello {CANARY}"}]
SPAN = "00f067aa0ba902b7"
CALL = ("admission", "upstream", "settlement", "ledger batch", "ledger commit")
_numbers = count(1)


def a_parent() -> tuple[str, dict[str, str]]:
    """A trace of its own for each test: its id, and the headers of a client that is in it."""
    trace_id = f"{next(_numbers):032x}"
    return trace_id, {"traceparent": f"00-{trace_id}-{SPAN}-01", "tracestate": "vendor=its-own"}


@pytest.fixture(scope="module")
def collector() -> Generator[Collector]:
    with collecting() as collector:
        yield collector


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def traced(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> AsyncGenerator[harness.Gateway]:
    async with _traced(tmp_path_factory, collector.environ) as gateway:
        yield gateway


@asynccontextmanager
async def _traced(folders: pytest.TempPathFactory, environ: dict[str, str]) -> AsyncGenerator[harness.Gateway]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", BATCHES["OTEL_BSP_SCHEDULE_DELAY"])
        with tracing.exporting("gateway", environ):
            async with (
                ledger_server.running(folders.mktemp("ledger"), environ) as process,
                harness.running_with(process, limits=Limits(head_bytes=200_000)) as gateway,
            ):
                yield gateway


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_one_call_is_one_tree_across_gateway_provider_and_ledger(
    traced: harness.Gateway, collector: Collector
) -> None:
    tenant = await traced.tenant()
    trace_id, headers = a_parent()
    async with tenant.openai(await tenant.open(), default_headers=headers) as client:
        await client.chat.completions.create(model="smart", messages=MESSAGES, max_tokens=50)
    tree = await collector.trace(trace_id, "chat smart", *CALL, "ledger batch")
    call = tree.one("chat smart")
    assert (call.service, call.kind, call.parent_id, call.failed) == ("ambit-gateway", "CLIENT", SPAN, False)
    host, _, port = traced.models.url.removeprefix("http://").partition(":")
    where = {"server.address": host, "server.port": int(port), "ambit.backend": "only"}
    assert call.attributes == {
        **where,
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "smart",
        "gen_ai.request.stream": False,
        "gen_ai.request.max_tokens": 50,
        "gen_ai.response.model": f"scripted?tag={tenant.namespace}&tokens=5&input=100",
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.cache_read.input_tokens": 0,
        "gen_ai.usage.cache_creation.input_tokens": 0,
        "gen_ai.usage.output_tokens": 5,
        "ambit.session": tenant.session(),
        "ambit.agent": f"{tenant.namespace}/researcher",
        "ambit.route": f"platform/{tenant.namespace}-smart",
        "ambit.cost.usd_nanos": 105_000,
        "ambit.usage.known": True,
        "ambit.attempt": 1,
        "ambit.ending": "Completed",
    }
    admission = tree.one("admission", under=call)
    assert admission.attributes == {"ambit.hold": "Ledger"}
    reserve = tree.one("ledger batch", under=admission)
    assert (reserve.service, reserve.kind) == ("ambit-ledger", "SERVER")
    assert (reserve.attributes["ambit.component"], reserve.attributes["ambit.ledger.refusals"]) == ("gateway", 0)
    for counted in ("ambit.ledger.operations", "ambit.ledger.accounts"):  # it may have gone with others' operations
        assert int(reserve.attributes[counted]) >= 1
    assert tree.one("ledger commit", under=reserve).service == "ambit-ledger"
    upstream = tree.one("upstream", under=call)
    assert (upstream.kind, upstream.events) == ("CLIENT", ("first byte",))
    expected = {"http.request.method": "POST", "http.response.status_code": 200, "ambit.ending": "Completed"}
    assert upstream.attributes == {**where, **expected, "ambit.attempt": 1}
    settlement = tree.one("settlement", under=call)
    assert settlement.attributes == {"ambit.result": "Settled"}
    assert "ledger batch" in tree.under(settlement)
    (received,) = tenant.received
    assert received.header("traceparent") == f"00-{trace_id}-{upstream.span_id}-01"
    assert received.header("tracestate") == "vendor=its-own"


async def test_a_stream_says_when_its_first_chunk_came(traced: harness.Gateway, collector: Collector) -> None:
    tenant = await traced.tenant(provider="Anthropic", scripts={"wise": "tokens=3&input=7"})
    trace_id, headers = a_parent()
    async with (
        tenant.anthropic(await tenant.open(), default_headers=headers) as client,
        client.messages.stream(model="wise", max_tokens=20, messages=[{"role": "user", "content": "hello"}]) as stream,
    ):
        await stream.get_final_message()
    tree = await collector.trace(trace_id, "chat wise", *CALL)
    call = tree.one("chat wise")
    assert call.attributes["gen_ai.request.stream"] is True
    assert call.attributes["gen_ai.provider.name"] == "anthropic"
    first_chunk_s = call.attributes["gen_ai.response.time_to_first_chunk"]
    assert isinstance(first_chunk_s, float)
    assert first_chunk_s >= 0


async def test_admission_asks_the_ledger_unless_its_hold_was_ahead(
    traced: harness.Gateway, collector: Collector
) -> None:
    tenant = await traced.tenant()
    token = await tenant.open()
    for _ in range(5):  # how each of them comes by its hold depends on how fast this machine is
        trace_id, headers = a_parent()
        assert (await _post(traced, token, headers)).status_code == 200
        spans = await collector.until(lambda spans, trace_id=trace_id: _settled(spans, trace_id))
        tree = tree_of(spans, trace_id)
        admission = tree.one("admission")
        # The ledger exports in order: what was asked before the settlement has come.
        assert ("ledger batch" in tree.under(admission)) == (
            admission.attributes["ambit.hold"] in ("Ledger", "Extended", "Confirmed")
        )


def _settled(spans: list[Exported], trace_id: str) -> bool:
    """Whether the trace is there up to the ledger's answer to the settlement."""
    tree = tree_of(spans, trace_id)
    settlements = [span for span in tree.spans if span.name == "settlement"]
    return any("ledger batch" in tree.under(span) for span in settlements) and any(
        span.name == "admission" for span in tree.spans
    )


async def test_a_refusal_names_its_reason_and_the_bound_in_the_way(
    traced: harness.Gateway, collector: Collector
) -> None:
    tenant = await traced.tenant(harness.tokens(10))
    trace_id, headers = a_parent()
    async with tenant.openai(await tenant.open(), default_headers=headers, max_retries=0) as client:
        with pytest.raises(openai.APIStatusError) as refused:
            await client.chat.completions.create(model="smart", messages=MESSAGES, max_tokens=50)
    assert refused.value.status_code == 402
    tree = await collector.trace(trace_id, "chat smart", "admission", "ledger batch")
    expected = {
        "error.type": "LimitExceeded",
        "ambit.refusal.reason": "LimitExceeded",
        "ambit.bound": "tokens per Lifetime",
        "ambit.bound.account": tenant.budget,
    }
    for span in (tree.one("chat smart"), tree.one("admission")):
        assert span.failed
        assert expected.items() <= span.attributes.items()
    assert tree.one("ledger batch").attributes["ambit.ledger.refusals"] == 1


async def test_a_model_that_the_agent_has_not_is_not_named(traced: harness.Gateway, collector: Collector) -> None:
    tenant = await traced.tenant()
    trace_id, headers = a_parent()
    async with tenant.openai(await tenant.open(), default_headers=headers, max_retries=0) as client:
        with pytest.raises(openai.PermissionDeniedError):
            await client.chat.completions.create(model=CANARY, messages=MESSAGES)
    call = (await collector.trace(trace_id, "model call")).one("model call")
    assert call.attributes["ambit.refusal.reason"] == "ModelNotAllowed"
    assert "gen_ai.request.model" not in call.attributes


async def test_a_provider_that_fails_fails_the_exchange_and_the_call(
    traced: harness.Gateway, collector: Collector
) -> None:
    tenant = await traced.tenant(scripts={"ill": "status=500"})
    trace_id, headers = a_parent()
    async with tenant.openai(await tenant.open(), default_headers=headers, max_retries=0) as client:
        with pytest.raises(openai.InternalServerError):
            await client.chat.completions.create(model="ill", messages=MESSAGES, max_tokens=50)
    tree = await collector.trace(trace_id, "chat ill", "upstream")
    for name in ("chat ill", "upstream"):
        assert (tree.one(name).failed, tree.one(name).attributes["error.type"]) == (True, "500")


async def test_no_content_and_no_credential_is_in_any_span(traced: harness.Gateway, collector: Collector) -> None:
    tenant = await traced.tenant()
    token = await tenant.open()
    trace_id, headers = a_parent()
    own = {**headers, "x-api-key": CANARY, "cookie": CANARY, "baggage": f"user={CANARY}", "x-secret": CANARY}
    async with tenant.openai(token, default_headers=own, max_retries=0) as client:
        await client.chat.completions.create(model="smart", messages=MESSAGES, max_tokens=50, user=CANARY)
        with pytest.raises(openai.PermissionDeniedError, match=CANARY):  # its message quotes what is wrong
            await client.chat.completions.create(model=CANARY, messages=MESSAGES)
    await _post(traced, f"{token}x{CANARY}", headers)
    await collector.trace(trace_id, "chat smart", *CALL, "ledger batch", "model call")
    sent = b"".join(collector.bodies)
    assert tenant.session().encode() in sent
    for secret in (CANARY, token, token.rpartition(".")[2], PROVIDER_KEY, "user-gateway", "hello"):
        assert secret.encode() not in sent


HOSTILE: list[list[tuple[str, str]]] = [
    [("traceparent", "x")],
    [("traceparent", "00-" + "0" * 32 + "-" + "0" * 16 + "-01")],
    [("traceparent", "ff-" + "a" * 32 + f"-{SPAN}-01")],
    [("traceparent", "00-" + "a" * 32 + f"-{SPAN}-01-{'x' * 60_000}")],
    [("traceparent", "x" * 120_000)],
    [("traceparent", "00-" + "a" * 32 + f"-{SPAN}-01")] * 2,
    [("traceparent", "00-" + "a" * 32 + f"-{SPAN}-01\xff")],
    [("tracestate", "a=1")],
]


@pytest.mark.parametrize(
    "headers", HOSTILE, ids=lambda headers: f"{len(headers)} {headers[0][1][:6]} {headers[0][1][-3:]!r}"
)
async def test_a_hostile_parent_begins_a_trace_of_its_own(
    traced: harness.Gateway, collector: Collector, headers: list[tuple[str, str]]
) -> None:
    tenant = await traced.tenant()
    assert (await _post(traced, await tenant.open(), headers)).status_code == 200
    (received,) = tenant.received
    passed_on = received.header("traceparent") or ""
    assert received.header("tracestate") is None
    tree = await collector.trace(passed_on[3:35], "chat smart", *CALL)
    call = tree.one("chat smart")
    assert (call.parent_id, call.state, call.attributes["ambit.session"]) == ("", "", tenant.session())
    assert tree.one("upstream").span_id == passed_on[36:52]


@pytest.mark.parametrize("state", ["a=1,a=2", "nonsense", "a=" + "x" * 100_000, ",".join(f"k{n}=v" for n in range(40))])
async def test_a_hostile_state_is_not_passed_on_and_the_parent_is(
    traced: harness.Gateway, collector: Collector, state: str
) -> None:
    tenant = await traced.tenant()
    trace_id, headers = a_parent()
    assert (await _post(traced, await tenant.open(), {**headers, "tracestate": state})).status_code == 200
    (received,) = tenant.received
    assert (received.header("traceparent") or "")[:36] == f"00-{trace_id}-"
    assert received.header("tracestate") is None
    tree = await collector.trace(trace_id, "chat smart")
    assert (tree.one("chat smart").parent_id, tree.one("chat smart").state) == (SPAN, "")


async def test_who_is_nobodys_session_leaves_no_trace(traced: harness.Gateway, collector: Collector) -> None:
    tenant = await traced.tenant()
    refused_id, refused_headers = a_parent()
    assert (await _post(traced, "nobody", refused_headers)).status_code == 401
    trace_id, headers = a_parent()
    assert (await _post(traced, await tenant.open(), headers)).status_code == 200
    await collector.trace(trace_id, "chat smart")
    assert not any(span.trace_id == refused_id for span in collector.spans)


async def test_what_a_client_wants_unsampled_is_exported_by_nobody(
    traced: harness.Gateway, collector: Collector
) -> None:
    tenant = await traced.tenant()
    unsampled_id, headers = a_parent()
    unsampled = headers["traceparent"][:-1] + "0"
    assert (await _post(traced, await tenant.open(), {"traceparent": unsampled})).status_code == 200
    (received,) = tenant.received
    assert (received.header("traceparent") or "").endswith("-00")
    trace_id, headers = a_parent()
    assert (await _post(traced, await tenant.open(name="s-2"), headers)).status_code == 200
    await collector.trace(trace_id, "chat smart", *CALL)
    assert not any(span.trace_id == unsampled_id for span in collector.spans)


async def test_a_collector_that_never_answers_holds_no_call_up(tmp_path_factory: pytest.TempPathFactory) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and says nothing
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}", **BATCHES}
        async with _traced(tmp_path_factory, environ) as gateway:
            tenant = await gateway.tenant()
            token = await tenant.open()
            for _ in range(20):
                assert (await _post(gateway, token, {})).status_code == 200
            assert (await tenant.settled()).spent.model_calls == 20


async def _post(
    gateway: harness.Gateway, token: str, headers: dict[str, str] | list[tuple[str, str]]
) -> httpx.Response:
    pairs = list(headers.items()) if isinstance(headers, dict) else headers
    raw = [(name.encode(), value.encode("latin-1")) for name, value in pairs]
    body = {"model": "smart", "messages": MESSAGES, "max_tokens": 50}
    async with httpx.AsyncClient(timeout=60) as client:
        return await client.post(
            f"{gateway.sandbox_url}/openai/v1/chat/completions",
            content=json.dumps(body),
            headers=[(b"authorization", f"Bearer {token}".encode()), (b"content-type", b"application/json"), *raw],
        )
