"""Anthropic's messages: what a request asks for, and what it may. What its answer has used: `anthropic_answer`."""

from collections.abc import Mapping
from typing import Any, Final

from ambit.api.model_route import Provider
from ambit.gateway.models import strict_json
from ambit.gateway.models.anthropic_answer import StreamMeter, usage_of_document
from ambit.gateway.models.anthropic_content import AT_THE_PROVIDER, Judged
from ambit.gateway.models.fields import ANOTHER_LIMIT, OTHER_SERVERS, Fields, prompt_of
from ambit.gateway.models.json_meter import JsonMeter
from ambit.gateway.models.strict_json import malformed, not_bounded
from ambit.gateway.models.wire_format import TOKENS_PER_MESSAGE, Call, Meter
from ambit.gateway.prefixes import Prompt
from ambit.gateway.server.http import Headers, Request

MIN_THINKING_TOKENS: Final = 1024
_A_PRICE_OF_ITS_OWN: Final = "has a price of its own, which the route does not state"
FIELDS: Final = Fields(
    prompt=("messages", "system", "tools", "tool_choice", "output_config", "output_format"),
    settings=(
        *("model", "max_tokens", "stream", "temperature", "top_p", "top_k", "stop_sequences", "metadata"),
        *("thinking", "service_tier", "cache_control", "context_management", "speed", "diagnostics"),
    ),
    refused={
        **OTHER_SERVERS,
        **dict.fromkeys(("max_completion_tokens", "max_output_tokens"), ANOTHER_LIMIT),
        **dict.fromkeys(("mcp_servers", "container", "skills", "thread"), AT_THE_PROVIDER),
        **dict.fromkeys(("inference_geo", "billing_policy", "fallback_credit_token"), _A_PRICE_OF_ITS_OWN),
        "compaction": "may call the model again",
    },
)
_MESSAGE_FIELDS: Final = Fields(prompt=("role", "content"), settings=())
_UNPRICED_BETAS: Final = ("context-1m", "fast-mode")


class AnthropicMessages:
    """The wire format of `POST /v1/messages`."""

    provider = Provider.ANTHROPIC
    call_path = "/v1/messages"

    def serves(self, path: str) -> bool:
        return path == self.call_path

    def parse(self, request: Request) -> Call:
        _check_betas(request)
        fields = strict_json.decode_object(request.body)
        FIELDS.check(fields)
        messages = strict_json.object_list(fields.get("messages"), "messages")
        judged = Judged(tokens_beyond_text=TOKENS_PER_MESSAGE * (len(messages) + 1))
        for index, message in enumerate(messages):
            _MESSAGE_FIELDS.check(message, f"messages[{index}].")
            judged.content(message.get("content"), f"messages[{index}].content")
        judged.content(fields.get("system"), "system")
        judged.tools(fields.get("tools"))
        judged.cache_control(fields, "")
        _check_service(fields)
        asked = strict_json.positive_int(fields, "max_tokens")
        if asked is None:
            raise malformed("max_tokens: Anthropic's format requires it", "max_tokens")
        tokens = FIELDS.prompt_bytes(fields) - judged.bytes_not_text + judged.tokens_beyond_text
        return Call(
            model=strict_json.text_field(fields, "model"),
            stream=strict_json.flag(fields, "stream"),
            prompt_tokens_bound=tokens if judged.whole else None,
            choices=1,
            asked_output_tokens=asked,
            floor_output_tokens=_thinking_floor(fields, asked),
            wants_usage=True,
            fields=fields,
            one_hour_cache=judged.one_hour_cache,
            hides_output=_thinks(fields.get("thinking")),
            prompt=(lambda: _prompt(fields, messages)) if judged.whole else None,
        )

    def rewrite(self, call: Call, model: str, output_tokens: int) -> bytes:
        rewritten = {**call.fields, "model": model, "max_tokens": output_tokens}
        thinking: Any = call.fields.get("thinking")
        if call.floor_output_tokens and thinking["budget_tokens"] >= output_tokens:
            rewritten["thinking"] = {**thinking, "budget_tokens": output_tokens - 1}
        return strict_json.encode(rewritten)

    def target(self, request: Request, model: str) -> str:
        return target(request, self.call_path)

    def credential(self, key: str) -> Headers:
        return credential(key)

    def meter(self, call: Call, event_stream: bool) -> Meter:
        return StreamMeter(call) if event_stream else JsonMeter(usage_of_document)


def target(request: Request, path: str) -> str:
    """The path at the provider; `?beta=true` is the one query that its clients send."""
    return f"{path}?beta=true" if "beta=true" in request.query.split("&") else path


def credential(key: str) -> Headers:
    """How Anthropic takes its key."""
    return ((b"x-api-key", key.encode("utf-8")),)


# -- the request ----------------------------------------------------------------


def _check_betas(request: Request) -> None:
    for name, value in request.headers:
        if name == b"anthropic-beta":
            for beta in value.decode("latin-1").split(","):
                if beta.strip().startswith(_UNPRICED_BETAS):
                    raise not_bounded("anthropic-beta", f"{beta.strip()!r} has a price that the route does not state")


def _check_service(fields: Mapping[str, Any]) -> None:
    tier = fields.get("service_tier")
    if tier not in (None, "auto", "standard_only"):
        raise not_bounded("service_tier", f"{tier!r} {_A_PRICE_OF_ITS_OWN}")
    speed = fields.get("speed")
    if speed not in (None, "standard"):
        raise not_bounded("speed", f"{speed!r} {_A_PRICE_OF_ITS_OWN}")
    given = fields.get("context_management")
    if given is not None:
        management = strict_json.an_object(given, "context_management")
        edits = strict_json.object_list(management.get("edits") or [], "context_management.edits")
        for index, edit in enumerate(edits):
            kind = edit.get("type")
            if not isinstance(kind, str) or not kind.startswith("clear_"):
                raise not_bounded(f"context_management.edits[{index}].type", f"{kind!r} may call the model again")


def _prompt(fields: Mapping[str, Any], messages: list[dict[str, Any]]) -> Prompt:
    bounds: list[int] = []
    for message in messages:
        judged = Judged()
        judged.content(message.get("content"), "content")
        text_bytes = len(strict_json.encode(message)) - judged.bytes_not_text
        bounds.append(text_bytes + judged.tokens_beyond_text + TOKENS_PER_MESSAGE)
    return prompt_of(fields, "messages", ("max_tokens",), bounds)


def _thinks(given: Any) -> bool:
    """Thinking is shown as a summary at most, and billed in full."""
    return given is not None and strict_json.an_object(given, "thinking").get("type") != "disabled"


def _thinking_floor(fields: Mapping[str, Any], asked: int) -> int:
    """The fewest output tokens that leave the provider's rule for `budget_tokens` whole; 0 without such a rule."""
    given = fields.get("thinking")
    if given is None:
        return 0
    thinking = strict_json.an_object(given, "thinking")
    if thinking.get("type") != "enabled":
        return 0
    budget = strict_json.positive_int(thinking, "budget_tokens", "thinking.")
    if budget is None or budget < MIN_THINKING_TOKENS:
        raise malformed(f"thinking.budget_tokens: write at least {MIN_THINKING_TOKENS}", "thinking.budget_tokens")
    # A budget above max_tokens is for interleaved thinking only; then it spans several calls and stays as it is.
    return 0 if budget >= asked else MIN_THINKING_TOKENS + 1
