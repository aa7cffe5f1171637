"""What a format accepts of a request, refuses, and sends on."""

from typing import Any

import msgspec
import pytest

from ambit.gateway.models.anthropic_messages import AnthropicMessages
from ambit.gateway.models.openai_chat import OpenAIChat
from ambit.gateway.models.openai_responses import OpenAIResponses
from ambit.gateway.models.wire_format import Call, RefusedCall, WireFormat
from ambit.gateway.server.http import Headers, Request

OPENAI, RESPONSES, ANTHROPIC = OpenAIChat(), OpenAIResponses(), AnthropicMessages()
FORMATS: list[WireFormat] = [OPENAI, RESPONSES, ANTHROPIC]
EACH_FORMAT = pytest.mark.parametrize("wire", FORMATS, ids=[type(wire).__name__ for wire in FORMATS])
HELLO = [{"role": "user", "content": "hello"}]


def parse(wire: WireFormat, body: bytes, headers: Headers = ()) -> Call:
    return wire.parse(Request("POST", "/", headers, body))


def a_body(wire: WireFormat, **fields: Any) -> bytes:
    standard: dict[str, Any] = {"model": "smart", "input" if wire is RESPONSES else "messages": HELLO}
    if wire is ANTHROPIC:
        standard["max_tokens"] = 100
    return msgspec.json.encode({**standard, **fields})


AMBIGUOUS = [
    b',"model":"dear"}',
    b',"LIMIT":9000}',
    b',"LIMIT\\u0020":1,"LIMIT\\u0020":9000}',
    b',"\\u004cIMIT":9000}',
    b',"metadata":{"a":1,"a":2}}',
    b',"x-unknown":{"a":[{"b":1,"b":2}]}}',
    b',"stream":1}',
    b',"stream":"true"}',
    b',"temperature":NaN}',
    b',"temperature":1e999}',
    b',"seed":123456789012345678901234567890}',
    b',"metadata":{"user_id":"\\ud800"}}',
    b',"metadata":{"user_id":"\xff"}}',
    b',"x-unknown":"\\ud800"}',
    b"} {}",
    b"",
    b',"metadata":' + b'{"a":' * 100_000,
]
NOT_OBJECTS = [b"[]", b'"model"', b"", b"\xef\xbb\xbf{}", b"{}".decode().encode("utf-16"), b"[" * 100_000]


def beginning(wire: WireFormat) -> bytes:
    """An ordinary body without its closing brace."""
    return a_body(wire, **{limit_of(wire): 5})[:-1]


def limit_of(wire: WireFormat) -> str:
    return "max_output_tokens" if wire is RESPONSES else "max_tokens"


@EACH_FORMAT
def test_the_beginning_is_ambiguous_only_by_what_follows_it(wire: WireFormat) -> None:
    assert parse(wire, beginning(wire) + b"}").asked_output_tokens == 5


@EACH_FORMAT
@pytest.mark.parametrize("rest", AMBIGUOUS, ids=[repr(rest[-40:]) for rest in AMBIGUOUS])
def test_what_two_readers_could_read_differently_is_400(wire: WireFormat, rest: bytes) -> None:
    limit = limit_of(wire).encode()
    written = rest.replace(b"\\u004cIMIT", b"\\u006d" + limit[1:]).replace(b"LIMIT", limit)
    refuses_as_malformed(wire, beginning(wire) + written)


@EACH_FORMAT
@pytest.mark.parametrize("body", NOT_OBJECTS, ids=[repr(body[-40:]) for body in NOT_OBJECTS])
def test_what_is_no_object_is_400(wire: WireFormat, body: bytes) -> None:
    refuses_as_malformed(wire, body)


def refuses_as_malformed(wire: WireFormat, body: bytes) -> None:
    with pytest.raises(RefusedCall) as refused:
        wire.rewrite(parse(wire, body), "m", 1)
    assert (refused.value.status, refused.value.reason) == (400, "Malformed")


@EACH_FORMAT
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "100", [100]])
def test_a_limit_of_the_wrong_type_is_named(wire: WireFormat, value: Any) -> None:
    with pytest.raises(RefusedCall) as refused:
        parse(wire, a_body(wire, **{limit_of(wire): value}))
    assert (refused.value.status, refused.value.field) == (400, limit_of(wire))


WRONG_TYPES: list[tuple[WireFormat, str, Any]] = [
    *[(wire, "model", wrong) for wire in FORMATS for wrong in ("", 3, None, ["m"])],
    *[(wire, "messages", wrong) for wire in (OPENAI, ANTHROPIC) for wrong in ("hello", None, 3)],
    *[(wire, "messages[0]", ["hello"]) for wire in (OPENAI, ANTHROPIC)],
    (RESPONSES, "input", {"role": "user"}),
    (RESPONSES, "input[0]", ["hello"]),
    (RESPONSES, "background", 1),
]


@pytest.mark.parametrize(("wire", "field", "value"), WRONG_TYPES)
def test_a_wrong_type_names_the_field(wire: WireFormat, field: str, value: Any) -> None:
    with pytest.raises(RefusedCall) as refused:
        parse(wire, a_body(wire, **{field.removesuffix("[0]"): value}))
    assert (refused.value.status, refused.value.field) == (400, field)


AUDIO = {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}
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
    (OPENAI, {"messages": [{"role": "user", "content": [AUDIO]}]}, "messages[0].content[0].type"),
    (OPENAI, {"messages": [{"role": "assistant", "audio": {"id": "a"}}]}, "messages[0].audio"),
    (OPENAI, {"stream": True, "stream_options": {"continuous": True}}, "stream_options.continuous"),
    (OPENAI, {"n_predict": 9000}, "n_predict"),  # llama.cpp reads it before max_tokens
    (OPENAI, {"max_output_tokens": 9000}, "max_output_tokens"),
    (OPENAI, {"models": ["dear"]}, "models"),
    (OPENAI, {"Best-Of": 10}, "Best-Of"),
    (OPENAI, {"messages": [{"role": "user", "Content": "x"}]}, "messages[0].Content"),
    (RESPONSES, {"background": True}, "background"),
    (RESPONSES, {"Background": True}, "Background"),
    (RESPONSES, {"max_tokens": 9000}, "max_tokens"),
    (RESPONSES, {"service_tier": "priority"}, "service_tier"),
    (RESPONSES, {"service_tier": ["default"]}, "service_tier"),
    (RESPONSES, {"context_management": [{"type": "compaction"}]}, "context_management"),
    (RESPONSES, {"tools": [{"type": "web_search"}]}, "tools[0].type"),
    (RESPONSES, {"tools": [{"type": "web_search_preview"}]}, "tools[0].type"),
    (RESPONSES, {"tools": [{"type": "file_search", "vector_store_ids": ["v"]}]}, "tools[0].type"),
    (RESPONSES, {"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]}, "tools[0].type"),
    (RESPONSES, {"tools": [{"type": "computer_use_preview"}]}, "tools[0].type"),
    (RESPONSES, {"tools": [{"type": "computer"}]}, "tools[0].type"),
    (RESPONSES, {"tools": [{"type": "mcp", "server_label": "x"}]}, "tools[0].type"),
    (RESPONSES, {"tools": [{"type": "image_generation"}]}, "tools[0].type"),
    (RESPONSES, {"tools": [{"type": "programmatic_tool_calling"}]}, "tools[0].type"),
    (RESPONSES, {"tools": [{"type": ["function"]}]}, "tools[0].type"),
    (RESPONSES, {"tools": [{"type": "tool_search"}]}, "tools[0].execution"),
    (RESPONSES, {"tools": [{"type": "shell", "environment": {"type": "container_auto"}}]}, "tools[0].environment.type"),
    (RESPONSES, {"tools": [{"type": "namespace", "tools": [{"type": "mcp"}]}]}, "tools[0].tools[0].type"),
    (RESPONSES, {"tool_choice": {"type": "web_search_preview"}}, "tool_choice"),
    (RESPONSES, {"tool_choice": {"type": "allowed_tools", "tools": [{"type": "mcp"}]}}, "tool_choice"),
    (RESPONSES, {"input": [{"type": "additional_tools", "tools": [{"type": "mcp"}]}]}, "input[0].tools[0].type"),
    (RESPONSES, {"input": [{"type": "mcp_approval_response", "approve": True}]}, "input[0].type"),
    (RESPONSES, {"input": [{"type": "compaction_trigger"}]}, "input[0].type"),
    (
        RESPONSES,
        {"input": [{"role": "user", "content": [{"type": "input_audio"}]}]},
        "input[0].content[0].type",
    ),
    (ANTHROPIC, {"mcp_servers": [{"url": "https://x"}]}, "mcp_servers"),
    (ANTHROPIC, {"container": "c"}, "container"),
    (ANTHROPIC, {"speed": "fast"}, "speed"),
    (ANTHROPIC, {"mcpServers": [{"url": "https://x"}]}, "mcpServers"),
    (
        ANTHROPIC,
        {"tools": [{"name": "f", "input_schema": {}, "allowed_callers": ["code_execution"]}]},
        "tools[0].allowed_callers",
    ),
    (ANTHROPIC, {"inference_geo": "us"}, "inference_geo"),
    (ANTHROPIC, {"service_tier": "priority"}, "service_tier"),
    (ANTHROPIC, {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
    (ANTHROPIC, {"tools": [{"type": "code_execution_20250825", "name": "c"}]}, "tools[0].type"),
    (ANTHROPIC, {"tools": [{"type": "web_fetch_20250910", "name": "w"}]}, "tools[0].type"),
    (ANTHROPIC, {"tools": [{"type": "computer_toolset_20260801"}]}, "tools[0].type"),
    (ANTHROPIC, {"tools": [{"type": ["custom"], "name": "w"}]}, "tools[0].type"),
    (ANTHROPIC, {"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "messages[0].content[0].type"),
    (ANTHROPIC, {"messages": [{"role": "user", "content": [{"type": ["text"]}]}]}, "messages[0].content[0].type"),
    (ANTHROPIC, {"system": [{"type": "container_upload", "file_id": "f"}]}, "system[0].type"),
    (ANTHROPIC, {"compaction": {"trigger": 1}}, "compaction"),
    (ANTHROPIC, {"fallbacks": [{"model": "dear"}]}, "fallbacks"),
    (
        ANTHROPIC,
        {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "video"}]}],
                }
            ]
        },
        "messages[0].content[0].content[0].type",
    ),
    (
        ANTHROPIC,
        {"system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1d"}}]},
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
    (OPENAI, {"mirostat": 2, "chat_template_kwargs": {"enable_thinking": False}}),
    (OPENAI, {"messages": [{"role": "assistant", "content": "x", "reasoning_content": "y", "new": 1}]}),
    (RESPONSES, {"instructions": "x", "reasoning": {"effort": "high"}, "store": False, "background": False}),
    (RESPONSES, {"include": ["reasoning.encrypted_content"], "prompt_cache_key": "k", "parallel_tool_calls": True}),
    (RESPONSES, {"text": {"format": {"type": "json_schema", "name": "f", "schema": {}}}, "new": {"a": 1}}),
    (RESPONSES, {"tools": [{"type": "function", "name": "f"}, {"type": "custom", "name": "g"}]}),
    (RESPONSES, {"tools": [{"type": "shell", "environment": {"type": "local"}}], "tool_choice": {"type": "shell"}}),
    (RESPONSES, {"input": "hello", "service_tier": "auto", "metadata": None, "web_search_options": None}),
    (
        RESPONSES,
        {
            "input": [
                {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x"}]},
                {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA"},
                {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "1", "output": [{"type": "input_text", "text": "x"}]},
                {"type": "shell_call_output", "call_id": "1", "output": [{"stdout": "x", "stderr": ""}]},
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
    assert sent == {**msgspec.json.decode(body), "model": "backend-model", limit_of(wire): 77}


def test_the_newer_name_of_the_limit_is_kept() -> None:
    call = parse(OPENAI, a_body(OPENAI, max_completion_tokens=500))
    sent = msgspec.json.decode(OPENAI.rewrite(call, "m", 77))
    assert call.asked_output_tokens == 500
    assert sent["max_completion_tokens"] == 77
    assert "max_tokens" not in sent


def test_both_names_of_the_limit_are_ambiguous() -> None:
    with pytest.raises(RefusedCall, match="not both"):
        parse(OPENAI, a_body(OPENAI, max_completion_tokens=500, max_tokens=500))


def prompt_bound(wire: WireFormat, **fields: Any) -> int:
    bound = parse(wire, a_body(wire, **fields)).prompt_tokens_bound
    assert bound is not None
    return bound


@EACH_FORMAT
@pytest.mark.parametrize("text", ["hello", "ü" * 1000, "\n" * 1000, '"' * 1000, "\x00" * 10, "🦊" * 100])
def test_the_prompt_is_bounded_by_its_bytes(wire: WireFormat, text: str) -> None:
    """No byte-level tokenizer makes more tokens than bytes; quotes, escapes and structure only add to the bound."""
    prompt = {"input" if wire is RESPONSES else "messages": [{"role": "user", "content": text}] * 3}
    assert prompt_bound(wire, **prompt) >= 3 * (len(text.encode()) + 16)


LONG = "x" * 1000
PARTS_OF_THE_PROMPT: list[tuple[WireFormat, dict[str, Any]]] = [
    (OPENAI, {"tools": [{"type": "function", "function": {"name": "f", "description": LONG}}]}),
    (OPENAI, {"response_format": {"type": "json_schema", "json_schema": {"name": LONG}}}),
    (OPENAI, {"documents": [{"text": LONG}]}),  # a field that the gateway does not know
    (RESPONSES, {"instructions": LONG}),
    (RESPONSES, {"tools": [{"type": "function", "name": "f", "description": LONG}]}),
    (RESPONSES, {"text": {"format": {"type": "json_schema", "schema": {"description": LONG}}}}),
    (RESPONSES, {"new": LONG}),
    (ANTHROPIC, {"system": LONG}),
    (ANTHROPIC, {"new": LONG}),
]


@pytest.mark.parametrize(("wire", "fields"), PARTS_OF_THE_PROMPT)
def test_whatever_may_reach_the_model_is_part_of_the_prompt(wire: WireFormat, fields: dict[str, Any]) -> None:
    assert prompt_bound(wire, **fields) > prompt_bound(wire) + len(LONG)


NOT_ALL_IN_THE_REQUEST: list[tuple[WireFormat, dict[str, Any]]] = [
    (RESPONSES, {"previous_response_id": "resp_1"}),
    (RESPONSES, {"conversation": "conv_1"}),
    (RESPONSES, {"prompt": {"id": "pmpt_1"}}),
    (RESPONSES, {"input": [{"type": "item_reference", "id": "msg_1"}]}),
    (RESPONSES, {"input": [{"id": "msg_1"}]}),
    (RESPONSES, {"input": [{"type": "reasoning", "id": "rs_1", "summary": []}]}),
    (RESPONSES, {"input": [{"type": "compaction", "encrypted_content": "gAAAA"}]}),
    (RESPONSES, {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file_1"}]}]}),
    (
        RESPONSES,
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "https://example.test/i.png"}]}]},
    ),
    (OPENAI, {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}]}),
    (OPENAI, {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file_1"}}]}]}),
    (
        RESPONSES,
        {"input": [{"type": "function_call_output", "output": [{"type": "input_image", "file_id": "file_1"}]}]},
    ),
]


@pytest.mark.parametrize(("wire", "fields"), NOT_ALL_IN_THE_REQUEST)
def test_what_is_not_text_in_the_request_may_fill_the_context(wire: WireFormat, fields: dict[str, Any]) -> None:
    assert parse(wire, a_body(wire, **fields)).prompt_tokens_bound is None


def test_a_stored_prompt_brings_no_tools_of_its_own() -> None:
    call = parse(RESPONSES, a_body(RESPONSES, prompt={"id": "pmpt_1"}))
    assert msgspec.json.decode(RESPONSES.rewrite(call, "m", 77))["tools"] == []
