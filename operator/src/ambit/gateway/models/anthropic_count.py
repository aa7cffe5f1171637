"""Anthropic's token counts (`token_count`)."""

from ambit.api.model_route import Provider
from ambit.gateway.models import strict_json
from ambit.gateway.models.anthropic_messages import FIELDS, credential, target
from ambit.gateway.models.token_count import count_call, count_meter
from ambit.gateway.models.wire_format import Call, Meter
from ambit.gateway.server.http import Headers, Request


class AnthropicCount:
    """The wire format of `POST /v1/messages/count_tokens`."""

    provider = Provider.ANTHROPIC
    call_path = "/v1/messages/count_tokens"

    def serves(self, path: str) -> bool:
        return path == self.call_path

    def parse(self, request: Request) -> Call:
        fields = strict_json.decode_object(request.body)
        FIELDS.check(fields)
        return count_call(strict_json.text_field(fields, "model"), fields)

    def rewrite(self, call: Call, model: str, output_tokens: int) -> bytes:
        return strict_json.encode({**call.fields, "model": model})

    def target(self, request: Request, model: str) -> str:
        return target(request, self.call_path)

    def credential(self, key: str) -> Headers:
        return credential(key)

    def meter(self, call: Call, event_stream: bool) -> Meter:
        return count_meter()
