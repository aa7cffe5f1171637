"""OpenAI's chat completions.

Usage comes last, and in a stream only if asked for: the gateway asks, and drops that chunk where the client did not.
What was read from the cache, or written to it, stands inside `prompt_tokens`.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from ambit.api.model_route import Provider
from ambit.gateway.models import strict_json
from ambit.gateway.models.json_meter import JsonMeter
from ambit.gateway.models.sse import EventSplitter, event, event_data
from ambit.gateway.models.strict_json import malformed, not_bounded
from ambit.gateway.models.wire_format import (
    TOKENS_PER_MESSAGE,
    Call,
    Meter,
    RefusedCall,
    TokenUsage,
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
        return _StreamMeter(call) if event_stream else JsonMeter(_usage_of_document)

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


# -- the answer -----------------------------------------------------------------


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    id: str = ""
    created: int = 0
    model: str = ""
    choices: list[_Choice] = []
    usage: _Usage | None = None


class _Document(msgspec.Struct):
    usage: _Usage | None = None


_decode_chunk: Final = msgspec.json.Decoder(_Chunk).decode
_decode_document: Final = msgspec.json.Decoder(_Document).decode


def _token_usage(usage: _Usage) -> TokenUsage | None:
    """None where the numbers contradict each other: what is not understood is charged by the hold."""
    details = usage.prompt_tokens_details or _PromptDetails()
    read, written = details.cached_tokens or 0, details.cache_write_tokens or 0
    output = usage.completion_tokens
    if usage.total_tokens is not None:  # some servers count hidden reasoning in the total alone
        output = max(output, usage.total_tokens - usage.prompt_tokens)
    plain = usage.prompt_tokens - read - written
    if min(usage.completion_tokens, read, written, plain) < 0:
        return None
    return TokenUsage(plain, read, written, output)


def _usage_of_document(document: bytes) -> TokenUsage | None:
    try:
        usage = _decode_document(document).usage
    except msgspec.DecodeError:
        return None
    return _token_usage(usage) if usage is not None else None


class _StreamMeter:
    """Reads each chunk; keeps the last usage, which is final once its own chunk or the end of the stream says so."""

    def __init__(self, call: Call) -> None:
        self._splitter = EventSplitter()
        self._pass_usage = call.wants_usage
        self._open_choices = set(range(call.choices))
        self._last = _Chunk()
        self._usage: TokenUsage | None = None
        self._final = False

    @property
    def usage(self) -> TokenUsage | None:
        return self._usage if self._final else None

    def feed(self, data: bytes) -> bytes:
        return b"".join([whole for whole in self._splitter.feed(data) if self._passes(whole)])

    def end(self) -> bytes:
        rest = self._splitter.rest()
        return rest if rest and self._passes(rest) else b""

    def cut(self) -> bytes:
        last = self._last
        chunk: dict[str, Any] = {
            "id": last.id or "chatcmpl-cut",
            "object": "chat.completion.chunk",
            "created": last.created,
            "model": last.model,
            "choices": [
                {"index": index, "delta": {}, "finish_reason": "length"} for index in sorted(self._open_choices)
            ],
        }
        ending = event(b"[DONE]")
        return event(msgspec.json.encode(chunk)) + ending if self._open_choices else ending

    def _passes(self, whole: bytes) -> bool:
        """Reads one event; whether it is the client's."""
        data = event_data(whole)
        if data == b"[DONE]":
            self._final = True
            return True
        if not data:
            return True
        try:
            chunk = _decode_chunk(data)
        except msgspec.DecodeError:
            return True  # not ours to judge; a usage that cannot be read leaves the usage unknown
        if chunk.id:
            self._last = chunk
        self._open_choices.difference_update(
            [choice.index for choice in chunk.choices if choice.finish_reason is not None]
        )
        if chunk.usage is None:
            return True
        self._usage = _token_usage(chunk.usage)
        if chunk.choices:
            return True
        self._final = True
        return self._pass_usage
