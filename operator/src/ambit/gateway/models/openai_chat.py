"""OpenAI's chat completions: what a request asks for, and what it may. What its answer has used: `openai_answer`."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from ambit.api.model_route import Provider
from ambit.gateway.models import strict_json
from ambit.gateway.models.json_meter import JsonMeter
from ambit.gateway.models.openai_answer import StreamMeter, usage_of_document
from ambit.gateway.models.strict_json import malformed, not_bounded
from ambit.gateway.models.wire_format import (
    TOKENS_PER_MESSAGE,
    Call,
    Meter,
    RefusedCall,
    refusal_fields,
    refusal_headers,
)
from ambit.gateway.server.http import Headers, Request, Response

_PROMPT_FIELDS: Final = ("messages", "tools", "tool_choice", "functions", "function_call", "response_format")
_KNOWN: Final = frozenset(
    {
        *_PROMPT_FIELDS,
        *("model", "max_tokens", "max_completion_tokens", "n", "stream", "stream_options"),
        *("temperature", "top_p", "top_k", "min_p", "seed", "stop", "logit_bias", "logprobs", "top_logprobs"),
        *("presence_penalty", "frequency_penalty", "repetition_penalty", "parallel_tool_calls", "modalities"),
        *("reasoning_effort", "verbosity", "service_tier", "store", "metadata", "user", "safety_identifier"),
        *("prompt_cache_key", "prompt_cache_retention"),
    }
)
_KNOWN_OF_MESSAGE: Final = frozenset(
    {
        *("role", "content", "name", "tool_calls", "tool_call_id", "function_call", "refusal"),
        *("reasoning_content", "reasoning", "annotations"),
    }
)
_TEXT_PARTS: Final = frozenset({"text", "refusal"})
_CLIENT_TOOLS: Final = frozenset({"function", "custom"})
_PLAIN_TIERS: Final = frozenset({"auto", "default", "flex"})
_MAX_CHOICES: Final = 128

_ERROR_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
}


class OpenAIChat:
    """The wire format of `POST /v1/chat/completions`."""

    provider = Provider.OPENAI
    prefix = "/openai"
    call_path = "/v1/chat/completions"
    models_path = "/v1/models"

    def parse(self, request: Request) -> Call:
        fields = strict_json.decode_object(request.body)
        strict_json.check_known(fields, _KNOWN, "")
        messages = strict_json.object_list(fields.get("messages"), "messages")
        for index, message in enumerate(messages):
            _check_message(message, f"messages[{index}]")
        tools = _check_tools(fields)
        stream = strict_json.flag(fields, "stream")
        _check_price_fields(fields)
        choices = strict_json.positive_int(fields, "n") or 1
        if choices > _MAX_CHOICES:
            raise malformed(f"n: write at most {_MAX_CHOICES}", "n")
        prompt_bytes = sum(len(strict_json.encode(fields[name])) for name in _PROMPT_FIELDS if name in fields)
        return Call(
            model=strict_json.text_field(fields, "model"),
            stream=stream,
            prompt_tokens_bound=prompt_bytes + TOKENS_PER_MESSAGE * (len(messages) + tools),
            choices=choices,
            asked_output_tokens=_asked_output(fields),
            floor_output_tokens=0,
            wants_usage=_wants_usage(fields, stream),
            fields=fields,
        )

    def rewrite(self, call: Call, model: str, output_tokens: int) -> bytes:
        # Both names of the limit are not always understood; the client knows which one its model takes.
        limit = "max_completion_tokens" if call.fields.get("max_completion_tokens") is not None else "max_tokens"
        rewritten = {**call.fields, "model": model, limit: output_tokens}
        if call.stream:
            options: dict[str, Any] = call.fields.get("stream_options") or {}
            rewritten["stream_options"] = {**options, "include_usage": True}
        return strict_json.encode(rewritten)

    def target(self, request: Request) -> str:
        return self.call_path

    def credential(self, key: str) -> Headers:
        return ((b"authorization", b"Bearer " + key.encode("utf-8")),)

    def meter(self, call: Call, event_stream: bool) -> Meter:
        return StreamMeter(call) if event_stream else JsonMeter(usage_of_document)

    def refuse(self, refusal: RefusedCall) -> Response:
        error = {
            "message": refusal.message,
            "type": _ERROR_TYPES.get(refusal.status, "api_error"),
            "param": refusal.field,
            "code": refusal.reason.value,
            **refusal_fields(refusal),
        }
        return Response(refusal.status, refusal_headers(refusal), msgspec.json.encode({"error": error}))

    def model_list(self, names: tuple[str, ...]) -> bytes:
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "ambit"} for name in names]
        return msgspec.json.encode({"object": "list", "data": data})


# -- the request ----------------------------------------------------------------


def _check_message(message: Mapping[str, Any], where: str) -> None:
    strict_json.check_known(message, _KNOWN_OF_MESSAGE, f"{where}.")
    content = message.get("content")
    if content is None or isinstance(content, str):
        return
    for index, part in enumerate(strict_json.object_list(content, f"{where}.content")):
        kind = part.get("type")
        if not isinstance(kind, str) or kind not in _TEXT_PARTS:
            raise not_bounded(
                f"{where}.content[{index}].type", f"{kind!r} cannot be bounded in this version; send text"
            )


def _check_tools(fields: Mapping[str, Any]) -> int:
    """How many tools there are; all run at the client."""
    count = 0
    if fields.get("tools") is not None:
        for index, tool in enumerate(strict_json.object_list(fields["tools"], "tools")):
            kind = tool.get("type")
            if not isinstance(kind, str) or kind not in _CLIENT_TOOLS:
                raise not_bounded(f"tools[{index}].type", f"{kind!r} runs at the provider, past the gateway")
            count += 1
    if fields.get("functions") is not None:
        count += len(strict_json.object_list(fields["functions"], "functions"))
    return count


def _check_price_fields(fields: Mapping[str, Any]) -> None:
    tier = fields.get("service_tier")
    if tier is not None and tier not in _PLAIN_TIERS:
        raise not_bounded("service_tier", f"{tier!r} has a price of its own, which the route does not state")
    modalities = fields.get("modalities")
    if modalities is not None and modalities != ["text"]:
        raise not_bounded("modalities", "only text can be bounded in this version")


def _asked_output(fields: Mapping[str, Any]) -> int | None:
    newer = strict_json.positive_int(fields, "max_completion_tokens")
    older = strict_json.positive_int(fields, "max_tokens")
    if newer is not None and older is not None:
        raise malformed("give max_completion_tokens or max_tokens, not both", "max_tokens")
    return newer if newer is not None else older


def _wants_usage(fields: Mapping[str, Any], stream: bool) -> bool:
    given = fields.get("stream_options")
    if given is None:
        return False
    if not stream:
        raise malformed("stream_options: only with stream: true", "stream_options")
    options = strict_json.an_object(given, "stream_options")
    strict_json.check_known(options, frozenset({"include_usage", "include_obfuscation"}), "stream_options.")
    return strict_json.flag(options, "include_usage")
