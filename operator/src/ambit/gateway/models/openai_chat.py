"""OpenAI's chat completions: what a request asks for, and what it may. What its answer has used: `openai_answer`."""

from collections.abc import Mapping
from typing import Any, Final

from ambit.api.model_route import Provider
from ambit.gateway.models import openai_fields, strict_json
from ambit.gateway.models.fields import ANOTHER_LIMIT, Fields, prompt_of
from ambit.gateway.models.json_meter import JsonMeter
from ambit.gateway.models.openai_answer import StreamMeter, usage_of_document
from ambit.gateway.models.strict_json import malformed, not_bounded
from ambit.gateway.models.wire_format import TOKENS_PER_MESSAGE, Call, Meter
from ambit.gateway.prefixes import Prompt
from ambit.gateway.server.http import Headers, Request

_FIELDS: Final = Fields(
    prompt=("messages", "tools", "tool_choice", "functions", "function_call", "response_format"),
    settings=(
        *("model", "max_tokens", "max_completion_tokens", "n", "stream", "stream_options"),
        *("temperature", "top_p", "top_k", "min_p", "seed", "stop", "logit_bias", "logprobs", "top_logprobs"),
        *("presence_penalty", "frequency_penalty", "repetition_penalty", "parallel_tool_calls", "modalities"),
        *("reasoning_effort", "verbosity", "service_tier", "store", "metadata", "user", "safety_identifier"),
        *("prompt_cache_key", "prompt_cache_retention"),
    ),
    refused={
        **openai_fields.REFUSED,
        "max_output_tokens": ANOTHER_LIMIT,
        "audio": "audio has a price of its own, which the route does not state",
        "prediction": "the tokens of a prediction that is not taken up are billed beyond max_tokens",
        "previous_response_id": "belongs to /v1/responses",
        "conversation": "belongs to /v1/responses",
    },
)
_MESSAGE_FIELDS: Final = Fields(
    prompt=("role", "content", "name", "tool_calls", "tool_call_id", "function_call", "refusal"),
    settings=(),
    refused={"audio": "audio has a price of its own, which the route does not state"},
)
_TEXT_PARTS: Final = frozenset({"text", "refusal"})
_FILE_PARTS: Final = frozenset({"image_url", "file"})
_CLIENT_TOOLS: Final = frozenset({"function", "custom"})
_MAX_CHOICES: Final = 128


class OpenAIChat:
    """The wire format of `POST /v1/chat/completions`."""

    provider = Provider.OPENAI
    call_path = "/v1/chat/completions"

    def serves(self, path: str) -> bool:
        return path == self.call_path

    def parse(self, request: Request) -> Call:
        fields = strict_json.decode_object(request.body)
        _FIELDS.check(fields)
        messages = strict_json.object_list(fields.get("messages"), "messages")
        whole = True
        for index, message in enumerate(messages):
            whole &= _bounded_by_its_bytes(message, f"messages[{index}]")
        tools = openai_fields.tool_count(fields.get("tools"), "tools", _CLIENT_TOOLS)
        if fields.get("functions") is not None:
            tools += len(strict_json.object_list(fields["functions"], "functions"))
        stream = strict_json.flag(fields, "stream")
        openai_fields.check_tier(fields)
        if fields.get("modalities") not in (None, ["text"]):
            raise not_bounded("modalities", "only text can be bounded in this version")
        choices = strict_json.positive_int(fields, "n") or 1
        if choices > _MAX_CHOICES:
            raise malformed(f"n: write at most {_MAX_CHOICES}", "n")
        bound = _FIELDS.prompt_bytes(fields) + TOKENS_PER_MESSAGE * (len(messages) + tools)
        return Call(
            model=strict_json.text_field(fields, "model"),
            stream=stream,
            prompt_tokens_bound=bound if whole else None,
            choices=choices,
            asked_output_tokens=_asked_output(fields),
            floor_output_tokens=0,
            wants_usage=_wants_usage(fields, stream),
            fields=fields,
            hides_output=fields.get("reasoning_effort") != "none",
            prompt=(lambda: _prompt(fields, messages)) if whole else None,
        )

    def rewrite(self, call: Call, model: str, output_tokens: int) -> bytes:
        # Both names of the limit are not always understood; the client knows which one its model takes.
        limit = "max_completion_tokens" if call.fields.get("max_completion_tokens") is not None else "max_tokens"
        rewritten = {**call.fields, "model": model, limit: output_tokens}
        if call.stream:
            options: dict[str, Any] = call.fields.get("stream_options") or {}
            rewritten["stream_options"] = {**options, "include_usage": True}
        return strict_json.encode(rewritten)

    def target(self, request: Request, model: str) -> str:
        return self.call_path

    def credential(self, key: str) -> Headers:
        return openai_fields.credential(key)

    def meter(self, call: Call, event_stream: bool) -> Meter:
        return StreamMeter(call) if event_stream else JsonMeter(usage_of_document)


# -- the request ----------------------------------------------------------------


def _bounded_by_its_bytes(message: Mapping[str, Any], where: str) -> bool:
    """Whether the message has no image or file, each of which may fill the context."""
    _MESSAGE_FIELDS.check(message, f"{where}.")
    content = message.get("content")
    if content is None or isinstance(content, str):
        return True
    whole = True
    for index, part in enumerate(strict_json.object_list(content, f"{where}.content")):
        kind = str(part.get("type"))
        if kind in _FILE_PARTS:
            whole = False
        elif kind not in _TEXT_PARTS:
            raise not_bounded(f"{where}.content[{index}].type", f"{kind!r} cannot be bounded in this version")
    return whole


def _prompt(fields: Mapping[str, Any], messages: list[dict[str, Any]]) -> Prompt:
    bounds = [len(strict_json.encode(message)) + TOKENS_PER_MESSAGE for message in messages]
    return prompt_of(fields, "messages", ("max_tokens", "max_completion_tokens", "n"), bounds)


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
