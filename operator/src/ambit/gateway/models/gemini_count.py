"""Gemini's token counts (`token_count`)."""

from typing import Any, Final

from ambit.api.model_route import Provider
from ambit.gateway.models import strict_json
from ambit.gateway.models.gemini_content import canonical
from ambit.gateway.models.gemini_generate import credential, model_in, serves, target
from ambit.gateway.models.token_count import count_call, count_meter
from ambit.gateway.models.wire_format import Call, Meter
from ambit.gateway.server.http import Headers, Request

_VERB: Final = "countTokens"
_REQUEST: Final = "generateContentRequest"


class GeminiCount:
    """The wire format of `POST /VERSION/models/MODEL:countTokens`."""

    provider = Provider.GEMINI

    def serves(self, path: str) -> bool:
        return serves(path, _VERB)

    def parse(self, request: Request) -> Call:
        fields = canonical(strict_json.decode_object(request.body), (_REQUEST,), "")
        if fields.get(_REQUEST) is not None:
            strict_json.an_object(fields[_REQUEST], _REQUEST)
        return count_call(model_in(request), fields)

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
        return count_meter()
