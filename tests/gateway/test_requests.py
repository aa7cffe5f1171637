"""What a format accepts of a request, refuses, and sends on."""

from typing import Any

import msgspec
import pytest

from ambit.gateway.models.anthropic_messages import AnthropicMessages
from ambit.gateway.models.openai_chat import OpenAIChat
from ambit.gateway.models.wire_format import Call, RefusedCall, WireFormat
from ambit.gateway.server.http import Headers, Request

OPENAI, ANTHROPIC = OpenAIChat(), AnthropicMessages()
HELLO = [{"role": "user", "content": "hello"}]


def parse(wire: WireFormat, body: bytes, headers: Headers = ()) -> Call:
    return wire.parse(Request("POST", wire.prefix + wire.call_path, headers, body))


def a_body(wire: WireFormat, **fields: Any) -> bytes:
    standard: dict[str, Any] = {"model": "smart", "messages": HELLO}
    if wire is ANTHROPIC:
        standard["max_tokens"] = 100
    return msgspec.json.encode({**standard, **fields})


RAW = b'{"model":"smart","messages":[{"role":"user","content":"hi"}],"max_tokens":5'
AMBIGUOUS = [
    RAW + b',"model":"dear"}',
    RAW + b',"max_tokens":9000}',
    RAW + b',"max\\u005ftokens":9000}',
    RAW + b',"metadata":{"a":1,"a":2}}',
    RAW + b',"stream":1}',
    RAW + b',"stream":"true"}',
    RAW + b',"temperature":NaN}',
    RAW + b',"temperature":1e999}',
    RAW + b',"seed":123456789012345678901234567890}',
    RAW + b',"metadata":{"user_id":"\\ud800"}}',
    RAW + b',"metadata":{"user_id":"\xff"}}',
    RAW + b"} {}",
    RAW,
    b"[]",
    b'"model"',
    b"",
    b"\xef\xbb\xbf" + RAW + b"}",
    (RAW + b"}").decode().encode("utf-16"),
    b'{"a":' * 100_000,
]


@pytest.mark.parametrize("wire", [OPENAI, ANTHROPIC], ids=["openai", "anthropic"])
@pytest.mark.parametrize("body", AMBIGUOUS, ids=[repr(body[-40:]) for body in AMBIGUOUS])
def test_what_two_readers_could_read_differently_is_400(wire: WireFormat, body: bytes) -> None:
    with pytest.raises(RefusedCall) as refused:
        wire.rewrite(parse(wire, body), "m", 1)
    assert (refused.value.status, refused.value.reason) == (400, "Malformed")


WRONG_TYPES: list[tuple[str, Any]] = [
    ("max_tokens", 0),
    ("max_tokens", -1),
    ("max_tokens", 1.5),
    ("max_tokens", True),
    ("max_tokens", "100"),
    ("model", ""),
    ("model", 3),
    ("messages", "hello"),
    ("messages[0]", ["hello"]),
    ("messages", None),
]


@pytest.mark.parametrize("wire", [OPENAI, ANTHROPIC], ids=["openai", "anthropic"])
@pytest.mark.parametrize(("field", "value"), WRONG_TYPES)
def test_a_wrong_type_names_the_field(wire: WireFormat, field: str, value: Any) -> None:
    with pytest.raises(RefusedCall) as refused:
        parse(wire, a_body(wire, **{field.removesuffix("[0]"): value}))
    assert (refused.value.status, refused.value.field) == (400, field)


IMAGE = {"type": "image_url", "image_url": {"url": "data:"}}
NOT_BOUNDED: list[tuple[WireFormat, dict[str, Any], str]] = [
    (OPENAI, {"Max_Tokens": 9000}, "Max_Tokens"),  # some servers' JSON readers take names in any case
    (OPENAI, {"best_of": 10}, "best_of"),
    (OPENAI, {"web_search_options": {}}, "web_search_options"),
    (OPENAI, {"previous_response_id": "r"}, "previous_response_id"),
    (OPENAI, {"prediction": {"type": "content", "content": "x"}}, "prediction"),
    (OPENAI, {"modalities": ["text", "audio"]}, "modalities"),
    (OPENAI, {"service_tier": "priority"}, "service_tier"),
    (OPENAI, {"tools": [{"type": "web_search"}]}, "tools[0].type"),
    (OPENAI, {"tools": [{"type": ["function"]}]}, "tools[0].type"),
    (OPENAI, {"messages": [{"role": "user", "content": [IMAGE]}]}, "messages[0].content[0].type"),
    (OPENAI, {"messages": [{"role": "assistant", "audio": {"id": "a"}}]}, "messages[0].audio"),
    (OPENAI, {"stream": True, "stream_options": {"continuous": True}}, "stream_options.continuous"),
    (ANTHROPIC, {"mcp_servers": [{"url": "https://x"}]}, "mcp_servers"),
    (ANTHROPIC, {"container": "c"}, "container"),
    (ANTHROPIC, {"speed": "fast"}, "speed"),
    (ANTHROPIC, {"inference_geo": "us"}, "inference_geo"),
    (ANTHROPIC, {"service_tier": "priority"}, "service_tier"),
    (ANTHROPIC, {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
    (ANTHROPIC, {"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "messages[0].content[0].type"),
    (ANTHROPIC, {"system": [{"type": "document"}]}, "system[0].type"),
    (
        ANTHROPIC,
        {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "image"}]}],
                }
            ]
        },
        "messages[0].content[0].content[0].type",
    ),
    (
        ANTHROPIC,
        {"system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]},
        "system[0].cache_control.ttl",
    ),
    (ANTHROPIC, {"context_management": {"edits": [{"type": "compact"}]}}, "context_management.edits[0].type"),
]


@pytest.mark.parametrize(("wire", "fields", "blamed"), NOT_BOUNDED, ids=[case[2] for case in NOT_BOUNDED])
def test_what_cannot_be_bounded_is_403_and_named(wire: WireFormat, fields: dict[str, Any], blamed: str) -> None:
    with pytest.raises(RefusedCall) as refused:
        parse(wire, a_body(wire, **fields))
    assert (refused.value.status, refused.value.reason, refused.value.field) == (403, "FeatureNotBounded", blamed)
    assert blamed in refused.value.message


@pytest.mark.parametrize("beta", [b"context-1m-2025-08-07", b"a, fast-mode-2026-02-01"])
def test_betas_with_prices_of_their_own_are_refused(beta: bytes) -> None:
    with pytest.raises(RefusedCall) as refused:
        parse(ANTHROPIC, a_body(ANTHROPIC), ((b"anthropic-beta", beta),))
    assert refused.value.field == "anthropic-beta"


ORDINARY: list[tuple[WireFormat, dict[str, Any]]] = [
    (OPENAI, {"temperature": 0.2, "stop": ["x"], "seed": 7, "user": "u", "response_format": {"type": "json_object"}}),
    (OPENAI, {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}], "tool_choice": "auto"}),
    (OPENAI, {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}),
    (OPENAI, {"audio": None, "prediction": None, "service_tier": "auto", "modalities": ["text"]}),
    (
        OPENAI,
        {
            "messages": [
                {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function"}], "audio": None},
                {"role": "tool", "tool_call_id": "1", "content": "42"},
            ]
        },
    ),
    (ANTHROPIC, {"system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]}),
    (ANTHROPIC, {"tools": [{"name": "f", "input_schema": {}}, {"type": "custom", "name": "g", "input_schema": {}}]}),
    (ANTHROPIC, {"context_management": {"edits": [{"type": "clear_thinking_20251015"}]}}),
    (
        ANTHROPIC,
        {
            "messages": [
                {"role": "assistant", "content": [{"type": "thinking", "thinking": "x", "signature": "y"}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "x"}]},
            ]
        },
    ),
]


@pytest.mark.parametrize(("wire", "fields"), ORDINARY)
def test_ordinary_requests_are_forwarded_with_nothing_else_changed(wire: WireFormat, fields: dict[str, Any]) -> None:
    body = a_body(wire, **fields)
    sent = msgspec.json.decode(wire.rewrite(parse(wire, body), "backend-model", 77))
    assert sent == {**msgspec.json.decode(body), "model": "backend-model", "max_tokens": 77}


def test_the_newer_name_of_the_limit_is_kept() -> None:
    call = parse(OPENAI, a_body(OPENAI, max_completion_tokens=500))
    sent = msgspec.json.decode(OPENAI.rewrite(call, "m", 77))
    assert call.asked_output_tokens == 500
    assert sent["max_completion_tokens"] == 77
    assert "max_tokens" not in sent


def test_both_names_of_the_limit_are_ambiguous() -> None:
    with pytest.raises(RefusedCall, match="not both"):
        parse(OPENAI, a_body(OPENAI, max_completion_tokens=500, max_tokens=500))


def test_the_prompt_is_bounded_by_its_bytes() -> None:
    """No byte-level tokenizer makes more tokens than bytes; quotes, escapes and structure only add to the bound."""
    for text in ("hello", "ü" * 1000, "\n" * 1000, '"' * 1000, "\x00" * 10, "🦊" * 100):
        for wire in (OPENAI, ANTHROPIC):
            call = parse(wire, a_body(wire, messages=[{"role": "user", "content": text}] * 3))
            assert call.prompt_tokens_bound >= 3 * (len(text.encode()) + 16)


def test_tools_and_schemas_are_part_of_the_prompt() -> None:
    tool = {"type": "function", "function": {"name": "f", "description": "x" * 1000}}
    schema = {"type": "json_schema", "json_schema": {"name": "x" * 1000}}
    plain = parse(OPENAI, a_body(OPENAI)).prompt_tokens_bound
    assert parse(OPENAI, a_body(OPENAI, tools=[tool])).prompt_tokens_bound > plain + 1000
    assert parse(OPENAI, a_body(OPENAI, response_format=schema)).prompt_tokens_bound > plain + 1000
    assert parse(ANTHROPIC, a_body(ANTHROPIC, system="x" * 1000)).prompt_tokens_bound > plain + 1000
