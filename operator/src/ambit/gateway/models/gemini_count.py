"""Gemini's token counts: free of charge at the provider, and a call all the same (as `anthropic_count`)."""

from typing import Any, Final

from ambit.api.model_route import Provider
from ambit.gateway.models import strict_json
from ambit.gateway.models.gemini_content import canonical
from ambit.gateway.models.gemini_generate import credential, model_in, serves, target
from ambit.gateway.models.json_meter import JsonMeter
from ambit.gateway.models.wire_format import Billing, Call, Meter, TokenUsage
from ambit.gateway.server.http import Headers, Request

_VERB: Final = "countTokens"
_REQUEST: Final = "generateContentRequest"
_NOTHING: Final = TokenUsage(0, 0, 0, 0)


class GeminiCount:
    """The wire format of `POST /VERSION/models/MODEL:countTokens`."""

    provider = Provider.GEMINI

    def serves(self, path: str) -> bool:
        return serves(path, _VERB)

    def parse(self, request: Request) -> Call:
        fields = canonical(strict_json.decode_object(request.body), (_REQUEST,), "")
        if fields.get(_REQUEST) is not None:
            strict_json.an_object(fields[_REQUEST], _REQUEST)
        return Call(
            model=model_in(request),
            stream=False,
            prompt_tokens_bound=0,
            choices=1,
            asked_output_tokens=None,
            floor_output_tokens=0,
            wants_usage=True,
            fields=fields,
            billing=Billing.NOTHING,
        )

    def rewrite(self, call: Call, model: str, output_tokens: int) -> bytes:
        fields: dict[str, Any] = {name: value for name, value in call.fields.items() if name != "model"}
        if fields.get(_REQUEST) is not None:
            fields[_REQUEST] = {**fields[_REQUEST], "model": f"models/{model}"}
        return strict_json.encode(fields)

    def target(self, request: Request, model: str) -> str:
        return target(request, model)

    def credential(self, key: str) -> Headers:
        return credential(key)

    def meter(self, call: Call, event_stream: bool) -> Meter:
        return JsonMeter(lambda _: _NOTHING)
