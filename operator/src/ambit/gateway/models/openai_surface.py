"""What OpenAI's wire formats have in common: paths, errors, models, the key."""

from typing import Any, Final

import msgspec

from ambit.api.model_route import Provider
from ambit.gateway.models.openai_chat import OpenAIChat
from ambit.gateway.models.openai_embeddings import OpenAIEmbeddings
from ambit.gateway.models.openai_responses import OpenAIResponses
from ambit.gateway.models.wire_format import RefusedCall, WireFormat, refusal_fields, refusal_headers
from ambit.gateway.server.http import Response

_ERROR_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
}


class OpenAISurface:
    """Everything below `/openai`."""

    provider = Provider.OPENAI
    prefix = "/openai"
    models_paths: tuple[str, ...] = ("/v1/models",)
    formats: tuple[WireFormat, ...] = (OpenAIChat(), OpenAIResponses(), OpenAIEmbeddings())

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
        return msgspec.json.encode({"object": "list", "data": [_model(name) for name in names]})

    def model(self, name: str) -> bytes:
        return msgspec.json.encode(_model(name))

    def why_not(self, path: str) -> str | None:
        if path.startswith("/v1/responses/"):
            return (
                "a response that the provider stores belongs to everybody whom the route's key serves, so it can be"
                " continued (previous_response_id), but not read, cancelled or deleted through the gateway"
            )
        if path.startswith(("/v1/files", "/v1/conversations", "/v1/vector_stores", "/v1/containers")):
            return "what the provider stores belongs to everybody whom the route's key serves"
        if path.startswith("/v1/batches"):
            return "a batch runs when nobody holds room for it; send its calls one by one"
        return None


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "ambit"}
