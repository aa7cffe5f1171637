"""Anthropic's messages: what a request asks for, and what it may. What its answer has used: `anthropic_answer`."""

from collections.abc import Mapping
from typing import Any, Final

from ambit.api.model_route import Provider
from ambit.gateway.models import strict_json
from ambit.gateway.models.anthropic_answer import StreamMeter, usage_of_document
from ambit.gateway.models.fields import ANOTHER_LIMIT, OTHER_SERVERS, Fields
from ambit.gateway.models.json_meter import JsonMeter
from ambit.gateway.models.strict_json import malformed, not_bounded
from ambit.gateway.models.wire_format import TOKENS_PER_MESSAGE, Call, Meter
from ambit.gateway.server.http import Headers, Request

TOOL_PROMPT_TOKENS: Final = 600
"""What Anthropic itself adds to a prompt with tools: at most 530 tokens, as published for tool use."""
MIN_THINKING_TOKENS: Final = 1024

AT_THE_PROVIDER: Final = "runs at the provider, past the gateway"
_A_PRICE_OF_ITS_OWN: Final = "has a price of its own, which the route does not state"
_FIELDS: Final = Fields(
    prompt=("messages", "system", "tools", "tool_choice", "output_config", "output_format"),
    settings=(
        *("model", "max_tokens", "stream", "temperature", "top_p", "top_k", "stop_sequences", "metadata"),
        *("thinking", "service_tier", "cache_control", "context_management"),
    ),
    refused={
        **OTHER_SERVERS,
        **dict.fromkeys(("max_completion_tokens", "max_output_tokens"), ANOTHER_LIMIT),
        **dict.fromkeys(("mcp_servers", "container", "skills"), AT_THE_PROVIDER),
        **dict.fromkeys(("speed", "inference_geo"), _A_PRICE_OF_ITS_OWN),
    },
)
_MESSAGE_FIELDS: Final = Fields(prompt=("role", "content"), settings=())
_BLOCK_FIELDS: Final = Fields(prompt=("type", "cache_control", "content"), settings=())
_BLOCKS: Final = frozenset({"text", "tool_use", "tool_result", "thinking", "redacted_thinking"})
_TOOL_FIELDS: Final = Fields(
    prompt=("type", "cache_control"), settings=(), refused={"allowed_callers": AT_THE_PROVIDER}
)
_UNPRICED_BETAS: Final = ("context-1m", "fast-mode", "extended-cache-ttl")


class AnthropicMessages:
    """The wire format of `POST /v1/messages`."""

    provider = Provider.ANTHROPIC
    call_path = "/v1/messages"

    def serves(self, path: str) -> bool:
        return path == self.call_path

    def parse(self, request: Request) -> Call:
        _check_betas(request)
        fields = strict_json.decode_object(request.body)
        _FIELDS.check(fields)
        messages = strict_json.object_list(fields.get("messages"), "messages")
        for index, message in enumerate(messages):
            _MESSAGE_FIELDS.check(message, f"messages[{index}].")
            _check_content(message.get("content"), f"messages[{index}].content")
        _check_content(fields.get("system"), "system")
        _check_cache_control(fields, "")
        _check_service(fields)
        tools = _check_tools(fields)
        asked = strict_json.positive_int(fields, "max_tokens")
        if asked is None:
            raise malformed("max_tokens: Anthropic's format requires it", "max_tokens")
        return Call(
            model=strict_json.text_field(fields, "model"),
            stream=strict_json.flag(fields, "stream"),
            prompt_tokens_bound=_FIELDS.prompt_bytes(fields)
            + TOKENS_PER_MESSAGE * (len(messages) + 1 + tools)
            + (TOOL_PROMPT_TOKENS if tools else 0),
            choices=1,
            asked_output_tokens=asked,
            floor_output_tokens=_thinking_floor(fields, asked),
            wants_usage=True,
            fields=fields,
        )

    def rewrite(self, call: Call, model: str, output_tokens: int) -> bytes:
        rewritten = {**call.fields, "model": model, "max_tokens": output_tokens}
        thinking: Any = call.fields.get("thinking")
        if call.floor_output_tokens and thinking["budget_tokens"] >= output_tokens:
            rewritten["thinking"] = {**thinking, "budget_tokens": output_tokens - 1}
        return strict_json.encode(rewritten)

    def target(self, request: Request, model: str) -> str:
        return f"{self.call_path}?beta=true" if "beta=true" in request.query.split("&") else self.call_path

    def credential(self, key: str) -> Headers:
        return ((b"x-api-key", key.encode("utf-8")),)

    def meter(self, call: Call, event_stream: bool) -> Meter:
        return StreamMeter(call) if event_stream else JsonMeter(usage_of_document)


# -- the request ----------------------------------------------------------------


def _check_betas(request: Request) -> None:
    for name, value in request.headers:
        if name == b"anthropic-beta":
            for beta in value.decode("latin-1").split(","):
                if beta.strip().startswith(_UNPRICED_BETAS):
                    raise not_bounded("anthropic-beta", f"{beta.strip()!r} has a price that the route does not state")


def _check_content(content: Any, where: str) -> None:
    if content is None or isinstance(content, str):
        return
    for index, block in enumerate(strict_json.object_list(content, where)):
        kind = block.get("type")
        if not isinstance(kind, str) or kind not in _BLOCKS:
            raise not_bounded(f"{where}[{index}].type", f"{kind!r} cannot be bounded in this version; send text")
        _BLOCK_FIELDS.check(block, f"{where}[{index}].")
        _check_cache_control(block, f"{where}[{index}].")
        if kind == "tool_result":
            _check_content(block.get("content"), f"{where}[{index}].content")


def _check_cache_control(fields: Mapping[str, Any], where: str) -> None:
    given = fields.get("cache_control")
    if given is None:
        return
    control = strict_json.an_object(given, f"{where}cache_control")
    if control.get("ttl", "5m") != "5m":
        raise not_bounded(f"{where}cache_control.ttl", "only 5m has a price on the route")


def _check_tools(fields: Mapping[str, Any]) -> int:
    if fields.get("tools") is None:
        return 0
    tools = strict_json.object_list(fields["tools"], "tools")
    for index, tool in enumerate(tools):
        if tool.get("type", "custom") not in (None, "custom"):
            raise not_bounded(
                f"tools[{index}].type", f"{tool['type']!r} is the provider's own, and its cost is not bounded"
            )
        _TOOL_FIELDS.check(tool, f"tools[{index}].")
        _check_cache_control(tool, f"tools[{index}].")
    return len(tools)


def _check_service(fields: Mapping[str, Any]) -> None:
    tier = fields.get("service_tier")
    if tier not in (None, "auto", "standard_only"):
        raise not_bounded("service_tier", f"{tier!r} has a price of its own, which the route does not state")
    given = fields.get("context_management")
    if given is not None:
        management = strict_json.an_object(given, "context_management")
        edits = strict_json.object_list(management.get("edits") or [], "context_management.edits")
        for index, edit in enumerate(edits):
            kind = edit.get("type")
            if not isinstance(kind, str) or not kind.startswith("clear_"):
                raise not_bounded(f"context_management.edits[{index}].type", f"{kind!r} may call the model again")


def _thinking_floor(fields: Mapping[str, Any], asked: int) -> int:
    """The fewest output tokens that leave the provider's rule for `budget_tokens` whole; 0 without such a rule."""
    given = fields.get("thinking")
    if given is None:
        return 0
    thinking = strict_json.an_object(given, "thinking")
    if thinking.get("type") != "enabled":
        return 0
    budget = strict_json.positive_int(thinking, "budget_tokens")
    if budget is None or budget < MIN_THINKING_TOKENS:
        raise malformed(f"thinking.budget_tokens: write at least {MIN_THINKING_TOKENS}", "thinking.budget_tokens")
    # A budget above max_tokens is for interleaved thinking only; then it spans several calls and stays as it is.
    return 0 if budget >= asked else MIN_THINKING_TOKENS + 1
