"""OpenAI's embeddings: several prompts in one call, and nothing that is written."""

from typing import Any, Final, cast

import msgspec

from ambit.api.model_route import Provider
from ambit.gateway.models import openai_fields, strict_json
from ambit.gateway.models.fields import Fields
from ambit.gateway.models.json_meter import JsonMeter
from ambit.gateway.models.strict_json import malformed
from ambit.gateway.models.wire_format import TOKENS_PER_MESSAGE, Billing, Call, Meter, TokenUsage
from ambit.gateway.server.http import Headers, Request

_FIELDS: Final = Fields(
    prompt=(),
    settings=("model", "input", "dimensions", "encoding_format", "user", "service_tier"),
    refused=openai_fields.REFUSED,
)


class _Usage(msgspec.Struct):
    prompt_tokens: int
    total_tokens: int | None = None


class _Document(msgspec.Struct):
    usage: _Usage | None = None


_decode_document: Final = msgspec.json.Decoder(_Document).decode


class OpenAIEmbeddings:
    """The wire format of `POST /v1/embeddings`."""

    provider = Provider.OPENAI
    call_path = "/v1/embeddings"

    def serves(self, path: str) -> bool:
        return path == self.call_path

    def parse(self, request: Request) -> Call:
        fields = strict_json.decode_object(request.body)
        _FIELDS.check(fields)
        openai_fields.check_tier(fields)
        prompts = _prompts(fields.get("input"))
        return Call(
            model=strict_json.text_field(fields, "model"),
            stream=False,
            prompt_tokens_bound=_FIELDS.prompt_bytes(fields) + sum(prompts),
            choices=1,
            asked_output_tokens=None,
            floor_output_tokens=0,
            wants_usage=True,
            fields=fields,
            billing=Billing.INPUT,
            prompts=len(prompts),
        )

    def rewrite(self, call: Call, model: str, output_tokens: int) -> bytes:
        return strict_json.encode({**call.fields, "model": model})

    def target(self, request: Request, model: str) -> str:
        return self.call_path

    def credential(self, key: str) -> Headers:
        return openai_fields.credential(key)

    def meter(self, call: Call, event_stream: bool) -> Meter:
        return JsonMeter(usage_of_document)


def usage_of_document(document: bytes) -> TokenUsage | None:
    """Raises msgspec.DecodeError."""
    usage = _decode_document(document).usage
    if usage is None or usage.prompt_tokens < 0:
        return None
    return TokenUsage(max(usage.prompt_tokens, usage.total_tokens or 0), 0, 0, 0)


def _prompts(value: Any) -> list[int]:
    """The bound of each prompt's tokens: its UTF-8 bytes, or the tokens themselves. Raises RefusedCall."""
    if isinstance(value, str):
        return [_of_text(value)]
    if not isinstance(value, list) or not value:
        raise malformed("input: write a text, tokens, or a list of either", "input")
    items = cast(list[Any], value)
    if all(_is_token(item) for item in items):
        return [len(items)]
    return [_of_item(item, index) for index, item in enumerate(items)]


def _of_item(item: Any, index: int) -> int:
    if isinstance(item, str):
        return _of_text(item)
    if isinstance(item, list):
        tokens = cast(list[Any], item)
        if tokens and all(_is_token(token) for token in tokens):
            return len(tokens)
    raise malformed(f"input[{index}]: write a text, or a list of tokens", f"input[{index}]")


def _of_text(text: str) -> int:
    return len(strict_json.encode(text)) + TOKENS_PER_MESSAGE


def _is_token(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
