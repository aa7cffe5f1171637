"""What is fuzzed, and what has to be true of any bytes. Pure: each target takes bytes and raises where one is not.

The first bytes of an input choose a variant and where the rest is split; so one input is one case, whoever replays it.
"""

import json
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import h11

from ambit.gateway.models import json_array, sse
from ambit.gateway.models.anthropic_count import AnthropicCount
from ambit.gateway.models.anthropic_messages import AnthropicMessages
from ambit.gateway.models.gemini_generate import GeminiGenerate
from ambit.gateway.models.json_array import ArraySplitter
from ambit.gateway.models.openai_chat import OpenAIChat
from ambit.gateway.models.openai_embeddings import OpenAIEmbeddings
from ambit.gateway.models.openai_responses import OpenAIResponses
from ambit.gateway.models.sse import EventSplitter, Fragment
from ambit.gateway.models.wire_format import Call, Meter, RefusedCall, WireFormat
from ambit.gateway.server.http import Headers, Request
from ambit.gateway.server.limits import BodyMemory, Limits
from ambit.gateway.server.parser import BadRequest, RequestParser

MAX_INPUT: Final = 4096
SMALL_EVENT: Final = 64
"""In place of 4 MiB, so that what happens to longer events is met."""
FORMATS: Final[tuple[WireFormat, ...]] = (
    OpenAIChat(),
    OpenAIResponses(),
    OpenAIEmbeddings(),
    AnthropicMessages(),
    AnthropicCount(),
    GeminiGenerate("streamGenerateContent"),
)
PATHS: Final = (
    "/openai/v1/chat/completions",
    "/openai/v1/responses",
    "/openai/v1/embeddings",
    "/anthropic/v1/messages",
    "/anthropic/v1/messages/count_tokens",
    "/gemini/v1beta/models/smart:streamGenerateContent?alt=sse",
)
OUTPUT_TOKENS: Final = 5000


def pieces(data: bytes, seed: int) -> Iterator[bytes]:
    """The same bytes in pieces: of one byte each, or of lengths that the seed makes up."""
    state = seed
    at = 0
    while at < len(data):
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        length = 1 if seed == 0 else 1 + (state >> 16) % (seed & 63 | 1)
        yield data[at : at + length]
        at += length


# -- the gateway's parser of requests ----------------------------------------


@dataclass(frozen=True)
class Reading:
    """What somebody makes of the first request among some bytes."""

    method: str
    target: str
    headers: Headers
    body: bytes
    more: bool
    """Whether more than that request came."""


def ours(fed: Iterator[bytes]) -> Reading | int | None:
    """The gateway's reading; the status with which it refuses; None where the request is not complete."""
    memory = BodyMemory(2**20)
    parser = RequestParser(Limits(), memory)
    try:
        for data in fed:
            parser.feed(data)
            if parser.request is not None:
                read = parser.request
                more = parser.pipelined or bool(b"".join(fed).lstrip(b"\r\n")) or read.method == "CONNECT"
                return Reading(read.method, read.target, read.headers, read.body, more)
    except BadRequest as refusal:
        return refusal.status
    finally:
        parser.release()
        assert memory.used_bytes == 0, "the parser keeps memory that it counted"
    return None


def h11s(data: bytes) -> Reading | None:
    """What h11 makes of it, which has no line of code in common with llhttp; None: it refuses, or waits for more."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=2**20)
    head: h11.Request | None = None
    body = b""
    try:
        connection.receive_data(data)
        while True:
            match connection.next_event():
                case h11.Request() as head:
                    pass
                case h11.Data() as piece:
                    body += bytes(piece.data)
                case h11.EndOfMessage():
                    break
                case _:
                    return None
    except h11.RemoteProtocolError:
        return None
    assert head is not None
    headers = tuple((bytes(name), bytes(value)) for name, value in head.headers)
    rest = bytes(connection.trailing_data[0])
    return Reading(head.method.decode(), head.target.decode(), headers, body, bool(rest.lstrip(b"\r\n")))


def parser(data: bytes) -> None:
    """A request is read alike however its bytes come, and as a parser that knows nothing of ours reads it."""
    if not data:
        return
    seed, wire = data[0], data[1:]
    whole = ours(iter([wire]))
    split = ours(pieces(wire, seed))
    assert whole == split, f"whole: {whole!r}\nsplit: {split!r}"
    if not isinstance(whole, Reading) or whole.method == "CONNECT":
        return
    theirs = h11s(_plain(wire))
    if theirs is None:
        assert whole.method not in ("GET", "POST"), f"h11 refuses {whole!r}"
        return
    assert _judged(whole) == _judged(theirs), f"ours: {whole!r}\nh11's: {theirs!r}"


def _plain(wire: bytes) -> bytes:
    """Without what llhttp overlooks in a request line, as it may, and h11 does not: empty lines before it (RFC 9112,
    2.2), and more than one space between its parts (3). The gateway writes that line anew.
    """
    line, end, rest = wire.lstrip(b"\r\n").partition(b"\r\n")
    return b" ".join(line.split(b" ")[:1] + [part for part in line.split(b" ")[1:] if part]) + end + rest


def _judged(reading: Reading) -> object:
    # h11 writes the coding's name in small letters.
    codings = b"transfer-encoding"
    headers = [(name, value.lower() if name == codings else value) for name, value in reading.headers]
    return reading.method, reading.target, sorted(headers), reading.body, reading.more


# -- what is judged is what is forwarded --------------------------------------


def forwarding(data: bytes) -> None:
    """A call that is accepted is forwarded with every field as it was, but for those that are the gateway's to set."""
    if not data:
        return
    at = data[0] % len(FORMATS)
    wire, body = FORMATS[at], data[1:]
    try:
        call = wire.parse(Request("POST", PATHS[at], (), body))
        sent = wire.rewrite(call, "backend-model", OUTPUT_TOKENS)
    except RefusedCall:
        return
    asked: dict[str, Any] = json.loads(body)
    if isinstance(asked.get("contents"), dict):
        asked["contents"] = [asked["contents"]]  # Gemini takes one content for a list of one, and is sent the list
    got: dict[str, Any] = json.loads(sent)
    for name in asked.keys() | got.keys():
        if name not in OURS[at]:
            assert _same(asked.get(name), got.get(name)), f"{name}: {asked.get(name)!r} became {got.get(name)!r}"
    again = wire.parse(Request("POST", PATHS[at], (), sent))
    assert (again.stream, again.choices, again.billing) == (call.stream, call.choices, call.billing)
    if call.prompt_tokens_bound is not None and again.prompt_tokens_bound is not None:
        assert again.prompt_tokens_bound >= call.prompt_tokens_bound - 64, "the prompt that was judged was longer"


OURS: Final[tuple[frozenset[str], ...]] = (
    frozenset({"model", "max_tokens", "max_completion_tokens", "stream_options"}),
    frozenset({"model", "max_output_tokens", "tools"}),
    frozenset({"model"}),
    frozenset({"model", "max_tokens", "thinking"}),
    frozenset({"model"}),
    frozenset({"model", "generationConfig", "generation_config", "systemInstruction", "system_instruction"}),
)
"""Of each format, the fields that the gateway may write."""


def _same(asked: object, got: object) -> bool:
    """Whether two decoded values would be written alike: 1 is neither 1.0 nor true."""
    return json.dumps(asked, sort_keys=True) == json.dumps(got, sort_keys=True)


# -- meters and splitters -----------------------------------------------------


@dataclass(frozen=True)
class Metered:
    """What became of an answer."""

    passed: bytes
    usage: object
    output_bound: int | None


def meters(data: bytes) -> None:
    """However an answer's bytes come, the same bytes pass, the same usage and bound are read, a cut ends it alike."""
    if len(data) < 3:
        return
    wire = FORMATS[data[0] % len(FORMATS)]
    event_stream, wants_usage, short_events = bool(data[0] & 0x40), bool(data[0] & 0x80), bool(data[1] & 0x40)
    call = Call("m", True, 10, 1 + (data[1] & 3), None, 0, wants_usage, {})
    seed, answer = data[2], data[3:]
    with _events_of_at_most(SMALL_EVENT if short_events else sse.MAX_EVENT_BYTES):
        whole = _metered(wire.meter(call, event_stream), iter([answer]))
        split = _metered(wire.meter(call, event_stream), pieces(answer, seed))
        cut = (
            []
            if short_events
            else [_cut(wire.meter(call, event_stream), fed) for fed in (iter([answer]), pieces(answer, seed))]
        )
    assert whole == split, f"whole: {whole!r}\nsplit: {split!r}"
    assert cut[:1] == cut[1:], f"whole: {cut[0]!r}\nsplit: {cut[1]!r}"
    if wants_usage or not isinstance(wire, OpenAIChat):
        assert whole.passed == answer, "bytes were lost"


def _metered(meter: Meter, fed: Iterator[bytes]) -> Metered:
    passed = b"".join([meter.feed(data) for data in fed]) + meter.end()
    usage = meter.usage
    if usage is not None:
        counts = (usage.input, usage.cache_read, usage.cache_write, usage.cache_write_1h, usage.output)
        assert min(counts) >= 0, f"a count below zero: {usage}"
    return Metered(passed, usage, meter.output_bound)


def _cut(meter: Meter, fed: Iterator[bytes]) -> tuple[bytes, bytes | None]:
    passed = b"".join([meter.feed(data) for data in fed])
    return passed, meter.cut()


def splitters(data: bytes) -> None:
    """No byte is lost, and what is given out whole does not depend on the pieces."""
    if len(data) < 2:
        return
    kind = ArraySplitter if data[0] & 1 else EventSplitter
    with _events_of_at_most(SMALL_EVENT if data[0] & 2 else sse.MAX_EVENT_BYTES):
        whole = _given_out(kind(), iter([data[2:]]))
        split = _given_out(kind(), pieces(data[2:], data[1]))
    assert b"".join(whole) == b"".join(split) == data[2:], "bytes were lost"
    assert _whole_ones(whole) == _whole_ones(split), f"whole: {whole!r}\nsplit: {split!r}"


def _given_out(splitter: EventSplitter | ArraySplitter, fed: Iterator[bytes]) -> list[bytes]:
    return [*(one for data in fed for one in splitter.feed(data)), splitter.rest()]


def _whole_ones(given_out: list[bytes]) -> list[bytes]:
    return [one for one in given_out if one and not isinstance(one, Fragment)]


@contextmanager
def _events_of_at_most(count: int) -> Generator[None]:
    """With another limit for one event."""
    before = sse.MAX_EVENT_BYTES
    for module in (sse, json_array):
        module.MAX_EVENT_BYTES = count  # pyright: ignore[reportAttributeAccessIssue] -- a constant to all but its fuzzing
    try:
        yield
    finally:
        for module in (sse, json_array):
            module.MAX_EVENT_BYTES = before  # pyright: ignore[reportAttributeAccessIssue]


TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = {
    "parser": parser,
    "forwarding": forwarding,
    "meters": meters,
    "splitters": splitters,
}
