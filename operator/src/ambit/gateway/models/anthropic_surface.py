"""What Anthropic's wire formats have in common: paths, errors, models."""

from typing import Any, Final

import msgspec

from ambit.api.model_route import Provider
from ambit.gateway.models.anthropic_count import AnthropicCount
from ambit.gateway.models.anthropic_messages import AnthropicMessages
from ambit.gateway.models.wire_format import RefusedCall, WireFormat, refusal_fields, refusal_headers
from ambit.gateway.server.http import Response

_ERROR_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
}


class AnthropicSurface:
    """Everything below `/anthropic`."""

    provider = Provider.ANTHROPIC
    prefix = "/anthropic"
    models_paths: tuple[str, ...] = ("/v1/models",)
    formats: tuple[WireFormat, ...] = (AnthropicMessages(), AnthropicCount())

    def refuse(self, refusal: RefusedCall) -> Response:
        error = {
            "type": _ERROR_TYPES.get(refusal.status, "api_error"),
            "message": refusal.message,
            **refusal_fields(refusal),
        }
        body = msgspec.json.encode({"type": "error", "error": error})
        return Response(refusal.status, refusal_headers(refusal), body)

    def model_list(self, names: tuple[str, ...]) -> bytes:
        first, last = (names[0], names[-1]) if names else (None, None)
        data = [_model(name) for name in names]
        return msgspec.json.encode({"data": data, "has_more": False, "first_id": first, "last_id": last})

    def model(self, name: str) -> bytes:
        return msgspec.json.encode(_model(name))

    def why_not(self, path: str) -> str | None:
        if path.startswith("/v1/messages/batches"):
            return "a batch runs when nobody holds room for it; send its messages one by one"
        if path.startswith(("/v1/files", "/v1/skills")):
            return "what the provider stores belongs to everybody whom the route's key serves"
        return None


def _model(name: str) -> dict[str, Any]:
    return {"type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z"}
