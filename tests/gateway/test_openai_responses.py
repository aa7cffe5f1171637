"""OpenAI's responses: how a stream that is cut ends, and what of it the client keeps."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from ambit.gateway.models import openai_responses_answer
from ambit.gateway.models.openai_responses import OpenAIResponses
from ambit.gateway.models.sse import EventSplitter, event, event_data
from ambit.gateway.models.wire_format import Call, Meter

WIRE = OpenAIResponses()
CALL = Call("smart", True, 10, 1, None, 0, True, {})
FOLDER = Path(__file__).parent / "transcripts"
Json = dict[str, Any]


def meter() -> Meter:
    return WIRE.meter(CALL, event_stream=True)


def cut(meter: Meter) -> bytes:
    """What ends a stream, which every meter of one can."""
    ending = meter.cut()
    assert ending is not None
    return ending


def read(stream: bytes) -> list[Json]:
    return [msgspec.json.decode(event_data(one)) for one in EventSplitter().feed(stream)]


def transcript(name: str) -> bytes:
    return (FOLDER / f"openai_responses_{name}.sse").read_bytes()


def cut_after(name: str, last: str) -> tuple[list[Json], list[Json]]:
    """What the client has of a transcript that is cut after the first event of this type: before the cut, and by it."""
    stream = transcript(name)
    at = stream.index(b"\n\n", stream.index(f"event: {last}\n".encode())) + 2
    cutting = meter()
    passed = cutting.feed(stream[:at] + b"event: half of an ev")
    assert cutting.usage is None
    return read(passed), read(cut(cutting))


def test_a_cut_closes_what_was_shown_and_repeats_it() -> None:
    before, after = cut_after("text", "response.output_text.delta")
    assert [one["type"] for one in after] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.incomplete",
    ]
    assert [one["sequence_number"] for one in before + after] == list(range(len(before) + 4))
    assert after[0]["text"] == after[1]["part"]["text"] == "Hi"
    item = after[2]["item"]
    assert (item["id"], item["status"], item["content"]) == (before[2]["item"]["id"], "incomplete", [after[1]["part"]])
    response = after[3]["response"]
    assert (response["id"], response["status"]) == (before[0]["response"]["id"], "incomplete")
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert response["output"] == [item]


def test_a_cut_between_items_keeps_the_whole_ones() -> None:
    _, after = cut_after("text", "response.output_item.done")
    assert [one["type"] for one in after] == ["response.incomplete"]
    [item] = after[0]["response"]["output"]
    assert (item["status"], item["content"][0]["text"]) == ("completed", "Hi there! How can I assist you today? 😊")


def test_a_tool_call_that_is_half_written_is_not_handed_over() -> None:
    _, after = cut_after("reasoning_and_tool", "response.function_call_arguments.delta")
    assert [one["type"] for one in after] == ["response.incomplete"]
    assert [item["type"] for item in after[0]["response"]["output"]] == ["reasoning"]


def test_reasoning_that_is_half_written_is_not_handed_over() -> None:
    _, after = cut_after("reasoning_and_tool", "response.reasoning_summary_text.delta")
    assert [one["type"] for one in after] == ["response.incomplete"]
    assert after[0]["response"]["output"] == []


def test_a_stream_that_is_cut_before_it_began_is_still_a_whole_response() -> None:
    first, last = read(cut(meter()))
    assert (first["type"], last["type"]) == ("response.created", "response.incomplete")
    assert first["response"]["id"] == last["response"]["id"]
    assert (first["sequence_number"], last["sequence_number"]) == (0, 1)


@pytest.mark.parametrize("name", ["text", "reasoning_and_tool"])
def test_a_stream_that_has_ended_is_not_ended_twice(name: str) -> None:
    ended = meter()
    ended.feed(transcript(name))
    assert ended.cut() == b""


def test_a_refusal_is_closed_as_one() -> None:
    at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    events: list[Json] = [
        {"type": "response.created", "response": {"id": "resp_1"}},
        {"type": "response.output_item.added", "output_index": 0, "item": {"id": "msg_1", "type": "message"}},
        {"type": "response.content_part.added", **at, "part": {"type": "refusal", "refusal": ""}},
        {"type": "response.refusal.delta", **at, "delta": "I can"},
    ]
    cutting = meter()
    cutting.feed(b"".join(event(msgspec.json.encode(one)) for one in events))
    after = read(cut(cutting))
    assert (after[0]["type"], after[0]["refusal"]) == ("response.refusal.done", "I can")
    assert after[-1]["response"]["output"][0]["content"] == [{"type": "refusal", "refusal": "I can"}]


LIES: list[Json] = [
    {"type": "response.created", "response": 7},
    {"type": "response.output_item.added", "output_index": 0},
    {"type": "response.output_item.added", "output_index": 0, "item": []},
    {"type": "response.output_item.done", "output_index": 0},
    {"type": "response.content_part.added", "output_index": 9, "content_index": 9, "part": {}},
    {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": {"a": 1}},
    {"type": "response.output_text.delta", "output_index": "0"},
    {"type": ["response.created"]},
]


@pytest.mark.parametrize("lie", LIES)
def test_a_provider_that_writes_nonsense_is_cut_all_the_same(lie: Json) -> None:
    cutting = meter()
    cutting.feed(transcript("text")[:600] + b"\n\n" + event(msgspec.json.encode(lie)))
    assert read(cut(cutting))[-1]["type"] == "response.incomplete"


def test_what_is_kept_for_a_cut_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_responses_answer, "MAX_KEPT_BYTES", 1000)
    stream = transcript("text")
    head, tail = stream[: stream.index(b"event: response.output_text.delta")], b""
    delta = {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "x" * 100}
    tail = event(msgspec.json.encode(delta))
    cutting = meter()
    cutting.feed(head + 20 * tail)
    [last] = read(cut(cutting))
    assert (last["type"], last["response"]["output"]) == ("response.incomplete", [])
