"""The HTTP core towards clients: one reading of a request or none, limits, and what a proxy request gets."""

import asyncio
import base64
import json
import tracemalloc
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from ambit.gateway.server.limits import BodyMemory, Limits
from ambit.gateway.server.parser import RequestParser
from tests.gateway import harness
from tests.gateway.harness import Gateway, Tenant

pytestmark = pytest.mark.asyncio(loop_scope="module")

CALL = b'{"model":"smart","messages":[{"role":"user","content":"hi"}]}'
HOST = b"Host: gateway.ambit\r\n"


class Answer:
    """One answer, read strictly."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body


class Connection:
    """A client that sends exactly the bytes it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> Answer:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("ascii").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        return Answer(int(head[0].split(" ")[1]), headers, body)

    async def rest(self) -> bytes:
        """All up to the connection's end."""
        return await self._reader.read()

    async def closed(self) -> bool:
        """Whether the gateway closes the connection, with nothing more to say."""
        return await self._reader.read() == b""


@asynccontextmanager
async def connected(gateway: Gateway) -> AsyncGenerator[Connection]:
    host, _, port = gateway.plane.sandbox_address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()


def a_call(token: str, body: bytes = CALL, *, extra: bytes = b"") -> bytes:
    head = b"POST /openai/v1/chat/completions HTTP/1.1\r\n" + HOST
    return (
        head + b"Authorization: Bearer %b\r\nContent-Length: %d\r\n%b\r\n" % (token.encode(), len(body), extra) + body
    )


POST = b"POST /openai/v1/chat/completions HTTP/1.1\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
SMUGGLED = {
    "length and chunked": POST + HOST + b"Content-Length: 5\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
    "chunked and length": POST + HOST + CHUNKED + b"Content-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": POST + HOST + b"Content-Length: 0\r\nContent-Length: 5\r\n\r\n",
    "two equal lengths": POST + HOST + b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
    "a list of lengths": POST + HOST + b"Content-Length: 0, 0\r\n\r\n",
    "a signed length": POST + HOST + b"Content-Length: +0\r\n\r\n",
    "a hexadecimal length": POST + HOST + b"Content-Length: 0x0\r\n\r\n",
    "a length too long for any integer": POST + HOST + b"Content-Length: 99999999999999999999\r\n\r\n",
    "a length before its colon": POST + HOST + b"Content-Length : 0\r\n\r\n",
    "chunked twice": POST + HOST + CHUNKED + CHUNKED + b"\r\n0\r\n\r\n",
    "chunked under another coding": POST + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "another coding": POST + HOST + b"Transfer-Encoding: identity\r\n\r\n",
    "a coding that ends in chunked": POST + HOST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a coding behind a vertical tab": POST + HOST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "chunked in HTTP/1.0": POST.replace(b"1.1", b"1.0") + HOST + CHUNKED + b"\r\n0\r\n\r\n",
    "a folded line": POST + HOST + b"X-A: b\r\n Content-Length: 5\r\n\r\n",
    "a folded line behind a tab": POST + HOST + b"X-A: b\r\n\tc\r\n\r\n",
    "bare line feeds": POST.replace(b"\r\n", b"\n") + b"Host: a\nContent-Length: 0\n\n",
    "a bare carriage return": POST + b"Host: a\rContent-Length: 0\r\n\r\n",
    "a zero byte": POST + HOST + b"X-A: a\0b\r\n\r\n",
    "a chunk size with a sign": POST + HOST + CHUNKED + b"\r\n+0\r\n\r\n",
    "a chunk size in Python's hexadecimal": POST + HOST + CHUNKED + b"\r\n0x0\r\n\r\n",
    "a chunk size that overflows": POST + HOST + CHUNKED + b"\r\nfffffffffffffffff1\r\n",
    "a chunk that ends in a line feed": POST + HOST + CHUNKED + b"\r\n1\na\n0\n\n",
    "a trailer": POST + HOST + CHUNKED + b"\r\n0\r\nX-Ambit-Session: a/b\r\n\r\n",
    "no host": POST + b"Content-Length: 0\r\n\r\n",
    "two hosts": POST + HOST + HOST + b"Content-Length: 0\r\n\r\n",
    "two hosts in HTTP/1.0": POST.replace(b"1.1", b"1.0") + HOST + HOST + b"\r\n",
    "another version": POST.replace(b"1.1", b"1.2") + HOST + b"\r\n",
    "no version": b"GET /\r\n\r\n",
    "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "an upgrade": POST + HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n",
    "a space in the target": b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n",
    "an empty header name": POST + HOST + b": x\r\n\r\n",
    "an expectation that nobody knows": POST + HOST + b"Expect: 200-maybe\r\nContent-Length: 0\r\n\r\n",
    "bytes outside ASCII in the target": "GET /ü HTTP/1.1\r\n".encode() + HOST + b"\r\n",
    "a chunk extension without end": POST + HOST + CHUNKED + b"\r\n1;" + b"a" * 400_000,
    "a trailer without end": POST + HOST + CHUNKED + b"\r\n0\r\nX-A: " + b"a" * 400_000,
    "not HTTP at all": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


@pytest.mark.parametrize("request_bytes", SMUGGLED.values(), ids=SMUGGLED.keys())
async def test_what_has_more_than_one_reading_is_refused_and_ends_the_connection(
    gateway: Gateway, request_bytes: bytes
) -> None:
    async with connected(gateway) as connection:
        connection.send(request_bytes)
        answer = await connection.answer()
        assert (answer.status, answer.headers["x-ambit-reason"]) == (400, "Malformed")
        assert answer.headers["x-should-retry"] == "false"
        assert await connection.closed()


def chat(content: bytes) -> bytes:
    return b'{"model":"smart","messages":[{"role":"user","content":%b}]}' % content


BODIES = {
    "nothing": b"",
    "no JSON": b"hello",
    "two documents": CALL + CALL,
    "a list": b"[" + CALL + b"]",
    "half a document": CALL[:-1],
    "bytes that are not UTF-8": chat(b'"\xff\xfe"'),
    "an overlong encoding": chat(b'"\xc0\xaf"'),
    "half of a surrogate pair": chat(b'"\\ud800"'),
    "a surrogate in UTF-8": chat(b'"\xed\xa0\x80"'),
    "UTF-16": CALL.decode().encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + CALL,
    "another model behind the first": CALL.replace(b"{", b'{"model":"dear",', 1),
    "another model in other letters": CALL.replace(b"{", b'{"Model":"dear",', 1),
    "an escaped name behind the first": CALL.replace(b"{", b'{"mod\\u0065l":"dear",', 1),
    "two limits": CALL.replace(b"{", b'{"max_tokens":5,"max_tokens":5000,', 1),
    "two contents": chat(b'"a","content":"b"'),
    "lists a thousand deep": chat(b"[" * 1000 + b"]" * 1000),
    "lists a million deep": chat(b"[" * 1_000_000 + b"]" * 1_000_000),
    "objects a hundred thousand deep": chat(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "not a number": CALL.replace(b"{", b'{"temperature":NaN,', 1),
    "infinity": CALL.replace(b"{", b'{"temperature":1e999,', 1),
    "a number of a million digits": CALL.replace(b"{", b'{"seed":' + b"9" * 1_000_000 + b",", 1),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
async def test_a_body_that_two_readers_could_read_differently_is_refused_and_nothing_is_sent(
    gateway: Gateway, body: bytes
) -> None:
    tenant = await gateway.tenant()
    async with connected(gateway) as connection:
        connection.send(a_call(await tenant.open(), body))
        answer = await connection.answer()
        assert (answer.status, answer.headers["x-ambit-reason"]) in {(400, "Malformed"), (403, "FeatureNotBounded")}
        connection.send(b"HEAD / HTTP/1.1\r\n" + HOST + b"\r\n")  # where a request ends was never in doubt
        assert (await connection.answer()).status == 200
    assert tenant.received == []


@pytest.mark.parametrize("coding", [b"gzip", b"br", b"zstd", b"identity, gzip", b"aws-chunked"])
async def test_a_compressed_body_is_refused_with_what_to_send(gateway: Gateway, coding: bytes) -> None:
    tenant = await gateway.tenant()
    async with connected(gateway) as connection:
        connection.send(a_call(await tenant.open(), extra=b"Content-Encoding: " + coding + b"\r\n"))
        answer = await connection.answer()
        assert (answer.status, answer.headers["x-ambit-reason"]) == (415, "Malformed")
        assert "send the body as it is, without Content-Encoding" in answer.body.decode()
        assert await connection.closed()
    assert tenant.received == []


async def test_http_1_0_is_served_up_to_the_connections_end(gateway: Gateway) -> None:
    tenant = await gateway.tenant()
    token = await tenant.open()
    call = a_call(token, CALL.replace(b"{", b'{"stream":true,', 1)).replace(b"HTTP/1.1", b"HTTP/1.0", 1)
    async with connected(gateway) as connection:
        connection.send(call)
        answer = await connection.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert "transfer-encoding" not in answer.headers
        assert (await connection.rest()).endswith(b"data: [DONE]\n\n")


async def test_a_body_in_small_chunks_takes_no_more_memory_than_it_has_bytes() -> None:
    memory = BodyMemory(2**30)
    parser = RequestParser(Limits(), memory)
    parser.feed(POST + HOST + CHUNKED + b"\r\n")
    tracemalloc.start()
    try:
        for _ in range(100):
            parser.feed(b"2\r\nab\r\n" * 1000)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert memory.used_bytes == 200_000
    assert taken < 2 * memory.used_bytes


async def test_a_second_request_in_the_same_breath_is_not_served(gateway: Gateway) -> None:
    tenant = await gateway.tenant()
    token = await tenant.open()
    async with connected(gateway) as connection:
        connection.send(a_call(token) + a_call(token))
        answer = await connection.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await connection.closed()
    assert len(tenant.received) == 1


async def test_a_connection_serves_one_request_after_the_other(gateway: Gateway) -> None:
    tenant = await gateway.tenant()
    token = await tenant.open()
    async with connected(gateway) as connection:
        for _ in range(3):
            connection.send(a_call(token))
            assert (await connection.answer()).status == 200


async def test_a_request_may_come_byte_by_byte_and_chunked(gateway: Gateway) -> None:
    tenant = await gateway.tenant()
    token = await tenant.open()
    head = POST + HOST + b"Authorization: Bearer " + token.encode() + b"\r\n" + CHUNKED + b"\r\n"
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (CALL[:10], CALL[10:])) + b"0\r\n\r\n"
    async with connected(gateway) as connection:
        for byte in head + chunks:
            connection.send(bytes([byte]))
            await connection.writer.drain()
        assert (await connection.answer()).status == 200
    assert tenant.received[0].json["messages"] == json.loads(CALL)["messages"]


async def test_a_client_that_waits_to_be_told_to_go_on_is_told(gateway: Gateway) -> None:
    tenant = await gateway.tenant()
    request = a_call(await tenant.open(), extra=b"Expect: 100-continue\r\n")
    async with connected(gateway) as connection:
        connection.send(request[: -len(CALL)])
        assert (await connection.answer()).status == 100
        connection.send(CALL)
        assert (await connection.answer()).status == 200


async def test_head_is_answered_without_identity(gateway: Gateway) -> None:
    async with connected(gateway) as connection:
        connection.send(b"HEAD / HTTP/1.1\r\n" + HOST + b"\r\n")
        assert (await connection.answer()).status == 200


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/openai/v1/embeddings", "error"),
        ("/anthropic/v1/complete", "type"),
        ("/openai/v1/chat/completions/", "error"),
        ("/openai/v1/chat/../models", "error"),
        ("/v1/namespaces/a/sessions", "error"),
        ("/metrics", "error"),
        ("/", "error"),
    ],
)
async def test_other_paths_are_404_in_the_shape_of_their_format(gateway: Gateway, path: str, shape: str) -> None:
    async with connected(gateway) as connection:
        connection.send(f"GET {path} HTTP/1.1\r\n".encode() + HOST + b"\r\n")
        answer = await connection.answer()
    assert (answer.status, answer.headers["x-ambit-reason"]) == (404, "NotFound")
    assert shape in json.loads(answer.body)


async def test_a_gateway_that_is_leaving_serves_who_still_comes_and_keeps_no_connection(tmp_path: Path) -> None:
    async with with_limits(tmp_path, Limits()) as (gateway, _, token), connected(gateway) as kept:
        kept.send(a_call(token))
        assert "connection" not in (await kept.answer()).headers
        gateway.plane.close_after_answers()
        async with connected(gateway) as new:
            for connection in (kept, new):
                connection.send(a_call(token))
                answer = await connection.answer()
                assert (answer.status, answer.headers["connection"]) == (200, "close")
                assert await connection.closed()


def proxied(tenant_token: str) -> bytes:
    credentials = base64.b64encode(f"session:{tenant_token}".encode())
    return b"Proxy-Authorization: Basic " + credentials + b"\r\n"


@pytest.mark.parametrize(
    "request_line",
    [
        b"CONNECT api.openai.com:443 HTTP/1.1\r\n",
        b"GET http://example.com/ HTTP/1.1\r\n",
        b"POST http://gateway.ambit:8080/openai/v1/chat/completions HTTP/1.1\r\n",
    ],
)
async def test_the_proxy_lets_nothing_out(gateway: Gateway, request_line: bytes) -> None:
    token = await (await gateway.tenant()).open()
    async with connected(gateway) as connection:
        connection.send(request_line + HOST + proxied(token) + b"\r\n")
        answer = await connection.answer()
        assert (answer.status, answer.headers["x-ambit-reason"]) == (403, "HostNotAllowed")
    async with connected(gateway) as connection:
        connection.send(request_line + HOST + b"\r\n")
        assert (await connection.answer()).status == 401


@pytest.fixture
def limited() -> Limits:
    return Limits(head_bytes=2000, headers=20, body_bytes=10_000, all_bodies_bytes=15_000, head_s=0.2, body_s=0.3)


@asynccontextmanager
async def with_limits(folder: Path, limits: Limits) -> AsyncGenerator[tuple[Gateway, Tenant, str]]:
    async with harness.running(folder, limits=limits) as gateway:
        tenant = await gateway.tenant()
        yield gateway, tenant, await tenant.open()


async def test_limits_of_size_are_answered_and_those_of_time_end_the_connection(
    tmp_path: Path, limited: Limits
) -> None:
    async with with_limits(tmp_path, limited) as (gateway, tenant, token):
        too_large = b'{"model":"smart","messages":[{"role":"user","content":"%b"}]}' % (b"x" * 10_000)
        async with connected(gateway) as connection:  # known from the head, and answered before the body is sent
            connection.send(a_call(token, too_large)[:-10_000])
            answer = await connection.answer()
            assert (answer.status, answer.headers["x-ambit-reason"]) == (413, "TooLarge")
        async with connected(gateway) as connection:  # found out as it comes
            head = POST + HOST + CHUNKED + b"\r\n"
            connection.send(head + b"%x\r\n%b\r\n" % (len(too_large), too_large))
            assert (await connection.answer()).status == 413
        for head in (b"X-A: " + b"a" * 3000 + b"\r\n", b"X-A: a\r\n" * 30):
            async with connected(gateway) as connection:
                connection.send(POST + HOST + head + b"\r\n")
                assert (await connection.answer()).status == 431
        for slow in (b"POST /openai", a_call(token)[:-5]):
            async with connected(gateway) as connection:
                connection.send(slow)
                assert await connection.closed()
        assert tenant.received == []


async def test_bodies_take_only_so_much_memory_in_all(tmp_path: Path, limited: Limits) -> None:
    patient = replace(limited, head_s=60, body_s=60)  # only the room is to stand in the way, however slow the machine
    async with with_limits(tmp_path, patient) as (gateway, _, token):
        body = CALL.replace(b"hi", b"x" * 9000)
        async with connected(gateway) as first, connected(gateway) as second:
            first.send(a_call(token, body)[:-10])
            await first.writer.drain()
            second.send(a_call(token, body)[:-10])
            answers = [asyncio.ensure_future(one.answer()) for one in (first, second)]
            done, pending = await asyncio.wait(answers, return_when=asyncio.FIRST_COMPLETED)
            [refused] = [task.result() for task in done]
            assert (refused.status, refused.headers["retry-after"]) == (503, "1")
            (first if answers[0] in pending else second).send(body[-10:])
            assert (await pending.pop()).status == 200
