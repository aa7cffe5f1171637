"""A provider that lies: what the client gets, and that the account is charged no less than was served."""

import asyncio
import gzip
import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import pytest_asyncio

from ambit.ledger import wire
from ambit.ledger.amounts import Amount
from tests.gateway import lying_provider
from tests.gateway.harness import Gateway, Tenant, tokens
from tests.gateway.lying_provider import Lie, LyingProvider, bytes_of, endless

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAX_TOKENS = 50
HOLD = "the hold"
STATUS = b"HTTP/1.1 200 OK\r\n"
JSON = STATUS + b"Content-Type: application/json\r\n"
EVENTS = STATUS + b"Content-Type: text/event-stream\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
TEXT = {
    "id": "c",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
}
USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
FRAME = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"w"},"finish_reason":null}]}\n\n'
END = b'data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"


def used(usage: Any) -> bytes:
    """The chunk of a stream that says the usage."""
    return b"data: " + json.dumps({"id": "c", "choices": [], "usage": usage}).encode() + b"\n\n"


def document(usage: Any = USAGE, *, more: bytes = b"") -> bytes:
    body = json.dumps(TEXT if usage is None else {**TEXT, "usage": usage}).encode() + more
    return JSON + b"Content-Length: %d\r\n\r\n" % len(body) + body


def stream(*events: bytes) -> bytes:
    return EVENTS + CHUNKED + b"".join(chunk(one) for one in events) + b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


ZIPPED = gzip.compress(json.dumps({**TEXT, "usage": USAGE}).encode())
COMPRESSED = JSON + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(ZIPPED) + ZIPPED


@dataclass(frozen=True)
class Case:
    """One lie; what the client gets, and what is charged: a number of tokens, or the whole hold."""

    name: str
    lie: Lie
    charged: int | str = HOLD
    status: int | None = 200
    """None: the answer breaks off, and the client sees that."""
    streams: bool = False
    holds: bytes = b""
    """What has to stand in the answer's body."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


def broken(name: str, answer: bytes) -> Case:
    """Answers that are no HTTP/1.1: the client is told so, and since somebody may have worked, the hold is charged."""
    return Case(name, bytes_of(answer), status=502, holds=b"UpstreamFailed")


CASES = [
    Case("usage_that_is_true", bytes_of(document()), 15),
    Case("usage_of_a_stream_that_is_true", bytes_of(stream(FRAME, END, used(USAGE), DONE)), 15, streams=True),
    # -- what it says of the usage
    Case(
        "usage_above_the_hold",
        bytes_of(document({**USAGE, "completion_tokens": 90_000, "total_tokens": 90_010})),
        90_010,
    ),
    Case("usage_that_no_ledger_counts", bytes_of(document({"prompt_tokens": 10**30, "completion_tokens": 1}))),
    Case("usage_in_words", bytes_of(document({"prompt_tokens": "ten", "completion_tokens": 5}))),
    Case("usage_in_halves", bytes_of(document({"prompt_tokens": 10.5, "completion_tokens": 5}))),
    Case("usage_below_zero", bytes_of(document({"prompt_tokens": -10, "completion_tokens": 5}))),
    Case("no_usage", bytes_of(document(None))),
    Case(
        "two_usages_in_a_stream",
        bytes_of(stream(FRAME, used({**USAGE, "completion_tokens": 1}), used({"prompt_tokens": "many"}), DONE)),
        streams=True,
    ),
    Case("usage_before_the_text", bytes_of(stream(used({"prompt_tokens": "many"}), FRAME, END, DONE)), streams=True),
    # -- what it says
    Case("no_json", bytes_of(JSON + b"Content-Length: 4\r\n\r\noops"), holds=b"oops"),
    Case("not_utf_8", bytes_of(document(more=b" \xff\xfe"))),
    Case(
        "no_events",
        bytes_of(stream(b"\x00\xff\n\r\r\ndata\n:data: {\n\n", b"data: [DONE\n\n")),
        streams=True,
        holds=b":data",
    ),
    Case("a_document_in_place_of_a_stream", bytes_of(document()), 15, streams=True),
    Case("a_stream_that_stops_without_its_end", bytes_of(stream(FRAME, FRAME)), streams=True, holds=FRAME),
    Case("compressed", bytes_of(COMPRESSED), holds=b'"hi"', headers={"content-encoding": "gzip"}),
    Case(
        "a_coding_that_nobody_knows",
        bytes_of(JSON + b"Content-Encoding: x-own\r\nContent-Length: 3\r\n\r\nabc"),
        holds=b"abc",
        headers={"content-encoding": "x-own"},
    ),
    # -- how long it is
    Case("shorter_than_it_says", bytes_of(document()[:-5], closes=True), status=None),
    Case(
        "a_stream_cut_within_a_chunk",
        bytes_of(EVENTS + CHUNKED + b"ff\r\ndata", closes=True),
        status=None,
        streams=True,
    ),
    Case("longer_than_it_says", bytes_of(document() + b"and more"), 15),
    Case("two_answers", bytes_of(document() + document({**USAGE, "prompt_tokens": 0})), 15),
    Case("one_and_a_half_answers", bytes_of(document() + document()[:80]), 15),
    Case("endless_head", endless(STATUS, b"X-A: " + b"a" * 1000 + b"\r\n"), status=502),
    Case("endless_header", endless(STATUS + b"X-A: ", b"a" * 1000), status=502),
    Case("endless_informational", endless(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"), status=502),
    Case(
        "endless_trailer", endless(EVENTS + CHUNKED + chunk(FRAME) + b"0\r\n", b"X-A: a\r\n"), status=None, streams=True
    ),
    Case("endless_chunk_extension", endless(EVENTS + CHUNKED + b"4;", b"a" * 1000), status=None, streams=True),
    # -- what is no HTTP/1.1
    broken("length_and_chunked", JSON + b"Content-Length: 3\r\n" + CHUNKED + b"0\r\n\r\n"),
    broken("two_lengths", JSON + b"Content-Length: 3\r\nContent-Length: 5\r\n\r\nabcde"),
    broken("a_length_with_a_sign", JSON + b"Content-Length: -3\r\n\r\nabc"),
    broken("compressed_in_transfer", JSON + b"Transfer-Encoding: gzip, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
    broken("another_transfer_coding", JSON + b"Transfer-Encoding: identity\r\n\r\nabc"),
    broken("a_folded_header", STATUS + b"A: b\r\n c\r\n\r\n"),
    broken("bare_line_feeds", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
    broken("a_zero_byte", STATUS + b"A: \0\r\nContent-Length: 0\r\n\r\n"),
    broken("another_protocol", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nabc"),
    broken("another_version", b"HTTP/9.9 200 OK\r\nContent-Length: 0\r\n\r\n"),
    broken("no_http", b"SSH-2.0-OpenSSH_9.2\r\n"),
]
LIES = {**{case.name: case.lie for case in CASES}, "endless_stream": endless(EVENTS + CHUNKED, chunk(FRAME))}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def liar() -> AsyncGenerator[LyingProvider]:
    async with lying_provider.running(LIES) as provider:
        yield provider


async def a_tenant(gateway: Gateway, liar: LyingProvider, lie: str) -> Tenant:
    return await gateway.tenant(scripts={"liar": f"lie={lie}"}, url=liar.url)


async def ask(gateway: Gateway, token: str, *, stream: bool) -> httpx.Response:
    """One call, with a client that believes nothing but HTTP. Raises RemoteProtocolError of an answer that breaks
    off.
    """
    body = {"model": "liar", "messages": [{"role": "user", "content": "hello"}], "max_tokens": MAX_TOKENS}
    async with httpx.AsyncClient(base_url=gateway.sandbox_url, headers={"Authorization": f"Bearer {token}"}) as client:
        return await client.post("/openai/v1/chat/completions", json={**body, "stream": stream})


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
async def test_a_lie_is_passed_on_or_named_and_charged_for_what_it_may_have_served(
    gateway: Gateway, liar: LyingProvider, case: Case
) -> None:
    tenant = await a_tenant(gateway, liar, case.name)
    token = await tenant.open()
    if case.status is None:
        with pytest.raises(httpx.RemoteProtocolError):
            await ask(gateway, token, stream=case.streams)
    else:
        answer = await ask(gateway, token, stream=case.streams)
        assert answer.status_code == case.status, answer.text
        assert case.holds in answer.content
        assert {name: answer.headers[name] for name in case.headers} == case.headers
    spent = (await tenant.settled()).spent
    assert spent == tenant.held_for("liar", MAX_TOKENS) if case.charged == HOLD else spent.tokens == case.charged
    assert spent.model_calls == 1


async def test_usage_above_the_hold_is_charged_whole_and_nothing_more_is_admitted(
    gateway: Gateway, liar: LyingProvider
) -> None:
    tenant = await gateway.tenant(tokens(80_000), scripts={"liar": "lie=usage_above_the_hold"}, url=liar.url)
    token = await tenant.open()
    assert (await ask(gateway, token, stream=False)).status_code == 200
    usage = await tenant.settled(tenant.budget)
    assert usage.spent.tokens == 90_010
    assert usage.overrun.tokens > 0
    refused = await ask(gateway, token, stream=False)
    assert (refused.status_code, refused.headers["x-ambit-reason"]) == (402, "LimitExceeded")


@pytest.mark.parametrize(
    ("lie", "connections"),
    [("usage_that_is_true", 1), ("longer_than_it_says", 2), ("two_answers", 2), ("one_and_a_half_answers", 2)],
)
async def test_a_connection_that_has_said_more_than_its_answer_meets_no_other_call(
    gateway: Gateway, lie: str, connections: int
) -> None:
    async with lying_provider.running(LIES) as provider:  # of its own: no connection to it is kept from before
        tenant = await a_tenant(gateway, provider, lie)
        token = await tenant.open()
        for _ in range(2):
            answer = await ask(gateway, token, stream=False)
            assert answer.json()["usage"] == USAGE
        assert provider.connections == connections


async def test_a_provider_that_answers_before_it_has_read_the_request_is_hung_up_on(gateway: Gateway) -> None:
    hung_up = asyncio.Event()

    async def refuses_and_never_reads(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = b'{"error":{"message":"too large"}}'
        writer.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        try:
            await writer.drain()
            await gone.wait()
            while await reader.read(2**16):  # what was on its way; then the end, or a reset
                pass
        except ConnectionError:
            pass
        hung_up.set()
        writer.close()

    gone = asyncio.Event()
    server = await asyncio.start_server(refuses_and_never_reads, "127.0.0.1", 0, limit=2**16)
    async with server:
        host, port = server.sockets[0].getsockname()
        tenant = await gateway.tenant(url=f"http://{host}:{port}")
        text = "x" * 9 * 2**20  # more than the kernel takes for anybody
        body = {"model": "smart", "messages": [{"role": "user", "content": text}], "max_tokens": MAX_TOKENS}
        headers = {"Authorization": f"Bearer {await tenant.open()}"}
        async with httpx.AsyncClient(base_url=gateway.sandbox_url, headers=headers, timeout=60) as client:
            answer = await client.post("/openai/v1/chat/completions", json=body)
        assert (answer.status_code, answer.json()["error"]["message"]) == (413, "too large")
        assert (await tenant.settled()).spent == Amount()
        gone.set()
        await hung_up.wait()


async def test_a_stream_that_never_ends_ends_with_its_session(gateway: Gateway, liar: LyingProvider) -> None:
    tenant = await a_tenant(gateway, liar, "endless_stream")
    async with tenant.openai(await tenant.open()) as client:
        events = await client.chat.completions.create(
            model="liar", messages=[{"role": "user", "content": "hello"}], max_tokens=MAX_TOKENS, stream=True
        )
        await anext(aiter(events))
        await gateway.ledger.kill(wire.Kill(path=tenant.session(), reason="enough", by="test"))
        last = [event async for event in events][-1]
    assert last.choices[0].finish_reason == "length"
    assert (await tenant.settled()).spent.tokens >= tenant.held_for("liar", MAX_TOKENS).tokens
