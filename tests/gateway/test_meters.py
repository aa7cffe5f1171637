"""Meters count the same however the bytes come, pass them unaltered, and end a stream in its format's own words."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambit.gateway.models.anthropic_messages import AnthropicMessages
from ambit.gateway.models.openai_chat import OpenAIChat
from ambit.gateway.models.sse import EventSplitter, event_data
from ambit.gateway.models.wire_format import Call, Meter, TokenUsage, WireFormat
from tests.model_server.formats import Anthropic, OpenAI, plan
from tests.model_server.script import Script, script_of

OPENAI, ANTHROPIC = OpenAIChat(), AnthropicMessages()
Split = Callable[[bytes], Iterator[bytes]]


def a_call(*, choices: int = 1, wants_usage: bool = False) -> Call:
    return Call("m", True, 10, choices, None, 0, wants_usage, {})


def a_stream(form: type[OpenAI] | type[Anthropic], script: str, **body: Any) -> bytes:
    asked: dict[str, Any] = {"model": "m", "messages": [], "stream_options": {"include_usage": True}, **body}
    return b"".join(form.events(plan(asked, script_of(f"m?{script}"))))


def fed(meter: Meter, pieces: Iterator[bytes]) -> bytes:
    return b"".join([meter.feed(piece) for piece in pieces]) + meter.end()


def at(stream: bytes, cuts: set[int]) -> Iterator[bytes]:
    """The stream in pieces, cut at these places."""
    for begin, end in pairwise([0, *sorted(cut for cut in cuts if 0 < cut < len(stream)), len(stream)]):
        yield stream[begin:end]


def whole_events(stream: bytes) -> list[bytes]:
    """The events of a stream that the model server wrote."""
    return [one + b"\n\n" for one in stream.removesuffix(b"\n\n").split(b"\n\n")]


def line_ends(stream: bytes, end: bytes) -> bytes:
    return stream.replace(b"\n", end)


@given(st.sets(st.integers(1, 3000)), st.sampled_from([b"\n", b"\r\n", b"\r"]), st.booleans())
def test_any_split_of_an_openai_stream_gives_the_same_usage_and_bytes(
    cuts: set[int], end: bytes, wants_usage: bool
) -> None:
    events = whole_events(a_stream(OpenAI, "tokens=3&input=50&cached=20"))
    stream = line_ends(b"".join(events), end)
    without_usage = line_ends(b"".join(one for one in events if b'"choices":[]' not in one), end)
    meter = OPENAI.meter(a_call(wants_usage=wants_usage), event_stream=True)
    passed = fed(meter, at(stream, cuts))
    assert passed == (stream if wants_usage else without_usage)
    assert meter.usage == TokenUsage(30, 20, 0, 3)


@given(st.sets(st.integers(1, 3000)), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_any_split_of_an_anthropic_stream_gives_the_same_usage_and_bytes(cuts: set[int], end: bytes) -> None:
    stream = line_ends(a_stream(Anthropic, "tokens=3&input=50&cached=20&cache_write=5"), end)
    meter = ANTHROPIC.meter(a_call(), event_stream=True)
    assert fed(meter, at(stream, cuts)) == stream
    assert meter.usage == TokenUsage(25, 20, 5, 3)


@given(st.sets(st.integers(1, 3000)), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_the_splitter_gives_out_whole_events_and_nothing_else(cuts: set[int], end: bytes) -> None:
    events = [line_ends(one, end) for one in whole_events(a_stream(Anthropic, "tokens=3"))]
    splitter = EventSplitter()
    given_out = [one for piece in at(b"".join(events), cuts) for one in splitter.feed(piece)]
    last = splitter.rest()  # after a carriage return a line feed might still have come
    assert [*given_out, *([last] if last else [])] == events


@given(st.binary(max_size=400), st.sets(st.integers(1, 400)))
def test_the_splitter_loses_no_byte_of_anything(data: bytes, cuts: set[int]) -> None:
    splitter = EventSplitter()
    assert b"".join([e for piece in at(data, cuts) for e in splitter.feed(piece)]) + splitter.rest() == data


@given(st.binary(max_size=300), st.sets(st.integers(1, 300)))
def test_meters_survive_any_bytes(data: bytes, cuts: set[int]) -> None:
    for wire in (OPENAI, ANTHROPIC):
        for event_stream in (True, False):
            meter = wire.meter(a_call(), event_stream)
            fed(meter, at(data, cuts))
            assert meter.usage is None or event_stream is False


def test_event_data_joins_lines_and_drops_comments() -> None:
    assert event_data(b": comment\ndata: a\r\ndata:b\rid: 1\n\n") == b"a\nb"


UNKNOWN = [
    ("a stream without usage", OPENAI, a_stream(OpenAI, "usage=absent")),
    ("negative counts", OPENAI, a_stream(OpenAI, "usage=negative")),
    ("more cached than there was", OPENAI, a_stream(OpenAI, "input=5&usage=contradictory")),
    ("a stream cut off before its usage", OPENAI, a_stream(OpenAI, "tokens=9")[:700]),
    ("no usage at all", ANTHROPIC, a_stream(Anthropic, "usage=absent")),
    ("negative counts", ANTHROPIC, a_stream(Anthropic, "usage=negative")),
    ("a stream cut off before its last count", ANTHROPIC, a_stream(Anthropic, "tokens=9")[:900]),
]


@pytest.mark.parametrize(("wire", "stream"), [case[1:] for case in UNKNOWN], ids=[case[0] for case in UNKNOWN])
def test_usage_that_is_not_said_for_good_is_unknown(wire: WireFormat, stream: bytes) -> None:
    meter = wire.meter(a_call(), event_stream=True)
    fed(meter, iter([stream]))
    assert meter.usage is None


DOCUMENTS = [
    (OPENAI, OpenAI, "tokens=4&input=50&cached=20", TokenUsage(30, 20, 0, 4)),
    (OPENAI, OpenAI, "usage=absent", None),
    (OPENAI, OpenAI, "usage=negative", None),
    (OPENAI, OpenAI, "usage=contradictory", None),
    (ANTHROPIC, Anthropic, "tokens=4&input=50&cached=20&cache_write=5", TokenUsage(25, 20, 5, 4)),
    (ANTHROPIC, Anthropic, "usage=absent", None),
    (ANTHROPIC, Anthropic, "usage=negative", None),
]


@pytest.mark.parametrize(("wire", "form", "script", "usage"), DOCUMENTS)
def test_the_usage_of_a_document(
    wire: WireFormat, form: type[OpenAI] | type[Anthropic], script: str, usage: TokenUsage | None
) -> None:
    document = msgspec.json.encode(form.document(plan({"model": "m"}, script_of(f"m?{script}"))))
    meter = wire.meter(a_call(), event_stream=False)
    assert fed(meter, at(document, {1, 7, 60})) == document
    assert meter.usage == usage


def test_cache_writes_and_hidden_reasoning_of_openai_are_counted() -> None:
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 5,
        "total_tokens": 125,
        "prompt_tokens_details": {"cached_tokens": 10, "cache_write_tokens": 20},
    }
    meter = OPENAI.meter(a_call(), event_stream=False)
    fed(meter, iter([msgspec.json.encode({"usage": usage})]))
    assert meter.usage == TokenUsage(70, 10, 20, 25)


def test_a_stop_sequence_that_looks_like_an_event_hides_no_count() -> None:
    stream = a_stream(Anthropic, "tokens=2&input=9").replace(
        b'"stop_sequence":null', b'"stop_sequence":"content_block_delta"'
    )
    meter = ANTHROPIC.meter(a_call(), event_stream=True)
    fed(meter, iter([stream]))
    assert meter.usage == TokenUsage(9, 0, 0, 2)


def cut(meter: Meter) -> bytes:
    """What ends a stream, which every meter of one can."""
    ending = meter.cut()
    assert ending is not None
    return ending


def _documents(stream: bytes) -> list[dict[str, Any]]:
    data = [event_data(one) for one in EventSplitter().feed(stream)]
    return [msgspec.json.decode(one) for one in data if one != b"[DONE]"]


def test_a_cut_openai_stream_ends_with_length_for_each_open_choice() -> None:
    meter = OPENAI.meter(a_call(choices=2), event_stream=True)
    passed = meter.feed(a_stream(OpenAI, "tokens=9", n=2)[:500])
    ending = cut(meter)
    assert ending.endswith(b"data: [DONE]\n\n")
    documents = _documents(passed + ending)
    assert {one["id"] for one in documents} == {"chatcmpl-scripted"}
    assert [(c["index"], c["finish_reason"]) for c in documents[-1]["choices"]] == [(0, "length"), (1, "length")]


def test_a_cut_anthropic_stream_closes_its_block_and_stops_with_max_tokens() -> None:
    meter = ANTHROPIC.meter(a_call(), event_stream=True)
    stream = a_stream(Anthropic, "tokens=9")
    documents = _documents(meter.feed(stream[: len(stream) // 2]) + cut(meter))
    assert [one["type"] for one in documents[-3:]] == ["content_block_stop", "message_delta", "message_stop"]
    assert documents[-2]["delta"]["stop_reason"] == "max_tokens"


def test_a_stream_that_is_cut_before_it_began_is_still_a_whole_message() -> None:
    meter = ANTHROPIC.meter(a_call(), event_stream=True)
    assert [one["type"] for one in _documents(cut(meter))] == ["message_start", "message_delta", "message_stop"]
    assert _documents(cut(OPENAI.meter(a_call(), event_stream=True)))[0]["choices"][0]["finish_reason"] == "length"


def test_an_anthropic_stream_that_has_ended_is_not_ended_twice() -> None:
    meter = ANTHROPIC.meter(a_call(), event_stream=True)
    meter.feed(a_stream(Anthropic, "tokens=2"))
    assert meter.cut() == b""


def test_the_scripts_of_the_model_server_refuse_what_they_do_not_know() -> None:
    assert script_of("m?tokens=7&usage=absent") == Script(tokens=7, usage="absent")
    with pytest.raises(msgspec.ValidationError):
        script_of("m?tokns=7")
