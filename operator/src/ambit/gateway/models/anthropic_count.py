"""Anthropic's token counts: free of charge at the provider, and a call all the same.

A count is held and settled as one model call without tokens or money: so the session must be alive, the model its own,
and a rate of model calls holds for counts, too.
"""

from ambit.api.model_route import Provider
from ambit.gateway.models import strict_json
from ambit.gateway.models.anthropic_messages import FIELDS, credential, target
from ambit.gateway.models.json_meter import JsonMeter
from ambit.gateway.models.wire_format import Billing, Call, Meter, TokenUsage
from ambit.gateway.server.http import Headers, Request

_NOTHING = TokenUsage(0, 0, 0, 0)


class AnthropicCount:
    """The wire format of `POST /v1/messages/count_tokens`."""

    provider = Provider.ANTHROPIC
    call_path = "/v1/messages/count_tokens"

    def serves(self, path: str) -> bool:
        return path == self.call_path

    def parse(self, request: Request) -> Call:
        fields = strict_json.decode_object(request.body)
        FIELDS.check(fields)
        return Call(
            model=strict_json.text_field(fields, "model"),
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
        return strict_json.encode({**call.fields, "model": model})

    def target(self, request: Request, model: str) -> str:
        return target(request, self.call_path)

    def credential(self, key: str) -> Headers:
        return credential(key)

    def meter(self, call: Call, event_stream: bool) -> Meter:
        return JsonMeter(lambda _: _NOTHING)
