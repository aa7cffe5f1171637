"""Gemini's format: what it accepts of a request, refuses, and sends on; how its streams are counted and cut."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambit.gateway.models.gemini_count import GeminiCount
from ambit.gateway.models.gemini_generate import GeminiGenerate
from ambit.gateway.models.json_array import ArraySplitter
from ambit.gateway.models.sse import EventSplitter, event_data
from ambit.gateway.models.wire_format import Billing, Call, Meter, RefusedCall, TokenUsage
from ambit.gateway.server.http import Request

WIRE = GeminiGenerate("streamGenerateContent")
TARGET = "/gemini/v1beta/models/smart:streamGenerateContent?alt=sse"
HELLO = [{"role": "user", "parts": [{"text": "hello"}]}]
IMAGE = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
FOLDER = Path(__file__).parent / "transcripts"


def parse_bytes(body: bytes, target: str = TARGET) -> Call:
    return WIRE.parse(Request("POST", target, (), body))


def parse(**fields: Any) -> Call:
    return parse_bytes(msgspec.json.encode({"contents": HELLO, **fields}))


def sent(call: Call, output_tokens: int = 77) -> dict[str, Any]:
    return msgspec.json.decode(WIRE.rewrite(call, "backend", output_tokens))


# -- the request ----------------------------------------------------------------


def test_the_model_stands_in_the_path() -> None:
    assert (
        parse_bytes(b'{"contents":[]}', "/gemini/v1beta/models/meta%2Fllama:8b:generateContent").model
        == "meta/llama:8b"
    )
    assert WIRE.target(Request("POST", TARGET, (), b""), "gemini 2?") == (
        "/v1beta/models/gemini%202%3F:streamGenerateContent?alt=sse"
    )
    keyed = Request("POST", "/gemini/v1beta/models/m:streamGenerateContent?key=secret&alt=json", (), b"")
    assert WIRE.target(keyed, "m") == "/v1beta/models/m:streamGenerateContent"
    assert "model" not in sent(parse(model="models/dear"))


@pytest.mark.parametrize(
    ("path", "served"),
    [
        ("/v1beta/models/m:streamGenerateContent", True),
        ("/v1beta/models/m:generateContent", False),
        ("/v1beta/models/a/b:streamGenerateContent", False),
        ("/v1beta/models/:streamGenerateContent", False),
        ("/v1beta/tunedModels/m:streamGenerateContent", False),
        ("/v1/models/m:streamGenerateContent", True),
        ("/v2/models/m:streamGenerateContent", False),
    ],
)
def test_only_its_own_paths_are_served(path: str, served: bool) -> None:
    assert WIRE.serves(path) is served


def test_an_ordinary_request_is_forwarded_with_nothing_else_changed() -> None:
    body: dict[str, Any] = {
        "contents": HELLO,
        "systemInstruction": {"parts": [{"text": "be brief"}]},
        "tools": [{"functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT", "snake_case": 1}}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
        "safetySettings": [],
        "generationConfig": {"temperature": 0.5, "candidateCount": 2, "thinkingConfig": {"includeThoughts": True}},
        "newIn2027": {"a": 1},
    }
    call = parse_bytes(msgspec.json.encode(body))
    assert (call.choices, call.asked_output_tokens, call.stream) == (2, None, True)
    assert sent(call) == {**body, "generationConfig": {**body["generationConfig"], "maxOutputTokens": 77}}


def test_both_spellings_of_a_field_are_read_and_one_is_sent() -> None:
    call = parse(generation_config={"max_output_tokens": 500, "candidate_count": 3})
    assert (call.asked_output_tokens, call.choices) == (500, 3)
    assert sent(call)["generationConfig"] == {"maxOutputTokens": 77, "candidateCount": 3}
    assert "generation_config" not in sent(call)


MALFORMED: list[bytes] = [
    b'{"contents":[],"contents":[]}',
    b'{"contents":[],"generationConfig":{"maxOutputTokens":1,"max_output_tokens":9}}',
    b'{"contents":[],"generationConfig":{},"generation_config":{}}',
    b'{"contents":[],"generationConfig":{"maxOutputTokens":0}}',
    b'{"contents":[],"generationConfig":{"maxOutputTokens":"9"}}',
    b'{"contents":[],"generationConfig":{"candidateCount":9}}',
    b'{"contents":[],"generationConfig":[]}',
    b'{"contents":"hello"}',
    b'{"contents":[{"parts":[7]}]}',
    b'{"contents":[{"parts":[{"text":"a","text":"b"}]}]}',
    b'{"contents":[{"parts":[{"inlineData":{"mimeType":"image/png","mime_type":"audio/wav"}}]}]}',
    b'{"contents":[{"parts":[{"text":"\\ud800"}]}]}',
    b'{"contents":[{"parts":[{"text":"\xff"}]}]}',
    b'{"contents":' + b"[" * 100_000,
    b"[]",
    b"",
]


@pytest.mark.parametrize("body", MALFORMED, ids=[repr(body[-60:]) for body in MALFORMED])
def test_what_two_readers_could_read_differently_is_400(body: bytes) -> None:
    with pytest.raises(RefusedCall) as refused:
        sent(parse_bytes(body))
    assert (refused.value.status, refused.value.reason) == (400, "Malformed")


def part(**held: Any) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": [held]}]}


NOT_BOUNDED: list[tuple[dict[str, Any], str]] = [
    ({"tools": [{"googleSearch": {}}]}, "tools[0].googleSearch"),
    ({"tools": [{"google_search": {}}]}, "tools[0].google_search"),
    ({"tools": [{"googleSearchRetrieval": {}}]}, "tools[0].googleSearchRetrieval"),
    ({"tools": [{"functionDeclarations": []}, {"codeExecution": {}}]}, "tools[1].codeExecution"),
    ({"tools": [{"urlContext": {}}]}, "tools[0].urlContext"),
    ({"tools": [{"fileSearch": {}}]}, "tools[0].fileSearch"),
    ({"tools": [{"mcpServers": []}]}, "tools[0].mcpServers"),
    ({"tools": [{"newTool": {}}]}, "tools[0].newTool"),
    ({"serviceTier": "priority"}, "serviceTier"),
    ({"service_tier": "PRIORITY"}, "serviceTier"),
    ({"continuationToken": "x"}, "continuationToken"),
    ({"MaxOutputTokens": 9}, "MaxOutputTokens"),
    ({"generationConfig": {"MaxOutputTokens": 9}}, "generationConfig.MaxOutputTokens"),
    ({"generationConfig": {"speechConfig": {}}}, "generationConfig.speechConfig"),
    ({"generationConfig": {"image_config": {}}}, "generationConfig.imageConfig"),
    ({"generationConfig": {"responseModalities": ["AUDIO"]}}, "generationConfig.responseModalities"),
    ({"generationConfig": {"response_modalities": ["IMAGE"]}}, "generationConfig.responseModalities"),
    ({"generationConfig": {"routingConfig": {}}}, "generationConfig.routingConfig"),
    (part(inlineData={"mimeType": "audio/wav", "data": "AA"}), "contents[0].parts[0].inlineData.mimeType"),
    (part(inline_data={"mime_type": "video/mp4", "data": "AA"}), "contents[0].parts[0].inlineData.mimeType"),
    (part(fileData={"fileUri": "https://youtu.be/x"}), "contents[0].parts[0].fileData.mimeType"),
    (part(newKind={"uri": "x"}), "contents[0].parts[0].newKind"),
    (
        part(functionResponse={"name": "f", "parts": [{"inlineData": {"mimeType": "audio/wav"}}]}),
        "contents[0].parts[0].functionResponse.parts[0].inlineData.mimeType",
    ),
]


@pytest.mark.parametrize(("fields", "blamed"), NOT_BOUNDED, ids=[case[1] for case in NOT_BOUNDED])
def test_what_cannot_be_bounded_is_403_and_named(fields: dict[str, Any], blamed: str) -> None:
    with pytest.raises(RefusedCall) as refused:
        parse(**fields)
    assert (refused.value.status, refused.value.reason, refused.value.field) == (403, "FeatureNotBounded", blamed)


@pytest.mark.parametrize("text", ["hello", "ü" * 1000, '"' * 1000, "\x00" * 10, "🦊" * 100])
def test_the_prompt_is_bounded_by_its_bytes(text: str) -> None:
    bound = parse(contents=[{"role": "user", "parts": [{"text": text}]}] * 3).prompt_tokens_bound
    assert bound is not None
    assert bound >= 3 * (len(text.encode()) + 16)


LONG = "x" * 1000


@pytest.mark.parametrize(
    "fields",
    [
        {"systemInstruction": {"parts": [{"text": LONG}]}},
        {"tools": [{"functionDeclarations": [{"name": "f", "description": LONG}]}]},
        {"generationConfig": {"responseSchema": {"description": LONG}}},
        {"new": LONG},
    ],
)
def test_whatever_may_reach_the_model_is_part_of_the_prompt(fields: dict[str, Any]) -> None:
    plain, more = parse().prompt_tokens_bound, parse(**fields).prompt_tokens_bound
    assert plain is not None
    assert more is not None
    assert more > plain + len(LONG)


@pytest.mark.parametrize(
    "fields",
    [
        {"cachedContent": "cachedContents/x"},
        {"cached_content": "cachedContents/x"},
        part(**IMAGE),
        part(fileData={"fileUri": "files/x", "mimeType": "application/pdf"}),
        part(functionResponse={"name": "f", "parts": [IMAGE]}),
        {"systemInstruction": {"parts": [IMAGE]}},
    ],
)
def test_what_is_not_text_in_the_request_may_fill_the_context(fields: dict[str, Any]) -> None:
    assert parse(**fields).prompt_tokens_bound is None


@pytest.mark.parametrize(("budget", "clamped"), [(8000, 999), (500, 500), (0, 0), (-1, -1)])
def test_a_thinking_budget_stays_below_the_limit(budget: int, clamped: int) -> None:
    call = parse(generation_config={"thinking_config": {"thinking_budget": budget}})
    with_first_names = parse(generationConfig={"thinkingConfig": {"thinkingBudget": budget}})
    for one in (call, with_first_names):
        assert sent(one, 1000)["generationConfig"]["thinkingConfig"] == {"thinkingBudget": clamped}


def test_a_count_is_a_call_that_costs_nothing() -> None:
    wire = GeminiCount()
    target = "/gemini/v1beta/models/smart:countTokens?key=secret"
    inner = {"model": "models/smart", "contents": HELLO}
    request = Request("POST", target, (), msgspec.json.encode({"generate_content_request": inner}))
    call = wire.parse(request)
    assert (call.model, call.billing) == ("smart", Billing.NOTHING)
    assert wire.target(request, "backend") == "/v1beta/models/backend:countTokens"
    rewritten = msgspec.json.decode(wire.rewrite(call, "backend", 0))
    assert rewritten == {"generateContentRequest": {"model": "models/backend", "contents": HELLO}}


# -- the answer -----------------------------------------------------------------

CALL = Call("m", True, 10, 1, None, 0, True, {})


def meter(*, events: bool, choices: int = 1) -> Meter:
    return WIRE.meter(Call("m", True, 10, choices, None, 0, True, {}), event_stream=events)


def answers(stream: bytes) -> list[dict[str, Any]]:
    return [msgspec.json.decode(event_data(one)) for one in EventSplitter().feed(stream)]


@given(st.binary(max_size=300), st.sets(st.integers(1, 300)))
def test_the_array_splitter_loses_no_byte_of_anything(data: bytes, cuts: set[int]) -> None:
    bounds = [0, *sorted(cuts), len(data) + 300]
    splitter = ArraySplitter()
    given_out = [p for a, b in pairwise(bounds) for p in splitter.feed(data[a:b])]
    assert b"".join(given_out) + splitter.rest() == data


@pytest.mark.parametrize("at", range(0, 1400, 7))
def test_a_cut_array_is_whole_wherever_it_is_cut(at: int) -> None:
    stream = (FOLDER / "gemini_array.json").read_bytes()
    cutting = meter(events=False)
    passed = cutting.feed(stream[:at])
    ending = cutting.cut()
    assert ending is not None
    read: list[dict[str, Any]] = msgspec.json.decode(passed + ending)
    assert read[-1]["candidates"][0]["finishReason"] in ("MAX_TOKENS", "STOP")


@pytest.mark.parametrize("at", range(0, 900, 7))
def test_a_cut_stream_of_events_ends_with_max_tokens(at: int) -> None:
    stream = (FOLDER / "gemini.sse").read_bytes()
    cutting = meter(events=True)
    passed = cutting.feed(stream[:at])
    ending = cutting.cut()
    assert ending is not None
    assert b"\n:" not in passed + ending  # Google's SDKs take a comment for an error
    last = answers(passed + ending)[-1]
    assert last["candidates"][0]["finishReason"] in ("MAX_TOKENS", "STOP")
    assert cutting.usage is None or last["candidates"][0]["finishReason"] == "STOP"


def test_a_cut_ends_each_open_candidate_and_keeps_the_last_counts() -> None:
    first = {
        "candidates": [{"index": 0, "finishReason": "STOP"}, {"index": 1, "content": {"parts": [{"text": "a"}]}}],
        "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 2, "totalTokenCount": 7},
        "responseId": "r-1",
    }
    cutting = meter(events=True, choices=2)
    cutting.feed(b"data: " + msgspec.json.encode(first) + b"\r\n\r\n")
    assert cutting.usage is None
    [ending] = answers(cutting.cut() or b"")
    assert [(one["index"], one["finishReason"]) for one in ending["candidates"]] == [(1, "MAX_TOKENS")]
    assert ending["usageMetadata"]["totalTokenCount"] == 7
    assert ending["responseId"] == "r-1"


@pytest.mark.parametrize("name", ["gemini.sse", "gemini_blocked.sse", "gemini_array.json"])
def test_a_stream_that_has_ended_is_not_ended_twice(name: str) -> None:
    ended = meter(events=name.endswith(".sse"))
    ended.feed((FOLDER / name).read_bytes())
    assert ended.cut() == b""


USAGES: list[tuple[Any, TokenUsage | None]] = [
    ({"promptTokenCount": 10, "candidatesTokenCount": 3, "thoughtsTokenCount": 4}, TokenUsage(10, 0, 0, 7)),
    ({"promptTokenCount": 10, "candidatesTokenCount": 3, "totalTokenCount": 20}, TokenUsage(10, 0, 0, 10)),
    ({"promptTokenCount": 10, "toolUsePromptTokenCount": 5, "totalTokenCount": 15}, TokenUsage(15, 0, 0, 0)),
    ({"promptTokenCount": 10, "cachedContentTokenCount": 8}, TokenUsage(2, 8, 0, 0)),
    ({"promptTokenCount": 10, "cachedContentTokenCount": 11}, None),
    ({"promptTokenCount": 10, "candidatesTokenCount": -1}, None),
    ({"promptTokenCount": 10, "thoughtsTokenCount": -1}, None),
    ({"promptTokenCount": 10, "toolUsePromptTokenCount": -1}, None),
    ({"promptTokenCount": -1}, None),
    ({"candidatesTokenCount": 3}, None),
    ({}, None),
    (None, None),
]


@pytest.mark.parametrize(("usage", "counted"), USAGES)
def test_usage_is_believed_where_it_does_not_contradict_itself(usage: Any, counted: TokenUsage | None) -> None:
    answer = {"candidates": [{"finishReason": "STOP"}], "usageMetadata": usage}
    document = GeminiGenerate("generateContent").meter(replace(CALL, stream=False), event_stream=False)
    document.feed(msgspec.json.encode(answer))
    document.end()
    streamed = meter(events=True)
    streamed.feed(b"data: " + msgspec.json.encode(answer) + b"\n\n")
    assert document.usage == streamed.usage == counted


def test_counts_before_the_end_are_not_final() -> None:
    stream = (FOLDER / "gemini.sse").read_bytes()
    counting = meter(events=True)
    counting.feed(stream[: stream.index(b"functionCall")])
    counting.end()
    assert counting.usage is None
