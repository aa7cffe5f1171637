"""What Gemini's wire formats have in common: paths, errors, models."""

from typing import Any, Final

import msgspec

from ambit.api.model_route import Provider
from ambit.gateway.models.gemini_count import GeminiCount
from ambit.gateway.models.gemini_generate import VERSIONS, GeminiGenerate
from ambit.gateway.models.wire_format import RefusedCall, WireFormat, refusal_fields, refusal_headers
from ambit.gateway.server.http import Response

_STATUSES: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "FAILED_PRECONDITION",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
}
_TYPES: Final = "type.googleapis.com/google.rpc."


class GeminiSurface:
    """Everything below `/gemini`."""

    provider = Provider.GEMINI
    prefix = "/gemini"
    models_paths: tuple[str, ...] = tuple(f"/{version}/models" for version in VERSIONS)
    formats: tuple[WireFormat, ...] = (
        GeminiGenerate("generateContent"),
        GeminiGenerate("streamGenerateContent"),
        GeminiCount(),
    )

    def refuse(self, refusal: RefusedCall) -> Response:
        said = refusal_fields(refusal)
        metadata = {name: value for name, value in said.items() if value is not None}
        details: list[dict[str, Any]] = [
            {"@type": f"{_TYPES}ErrorInfo", "reason": refusal.reason.value, "domain": "ambit.dev", "metadata": metadata}
        ]
        if refusal.retry_after_s is not None:  # Google's clients read this, and not the header
            details.append({"@type": f"{_TYPES}RetryInfo", "retryDelay": f"{refusal.retry_after_s}s"})
        error = {
            "code": refusal.status,
            "message": refusal.message,
            "status": _STATUSES.get(refusal.status, "UNAVAILABLE"),
            "details": details,
            **said,
        }
        return Response(refusal.status, refusal_headers(refusal), msgspec.json.encode({"error": error}))

    def model_list(self, names: tuple[str, ...]) -> bytes:
        return msgspec.json.encode({"models": [_model(name) for name in names]})

    def model(self, name: str) -> bytes:
        return msgspec.json.encode(_model(name))

    def why_not(self, path: str) -> str | None:
        _, _, below = path.removeprefix("/upload").removeprefix("/").partition("/")
        if below.startswith(("cachedContents", "files", "fileSearchStores", "interactions", "tunedModels")):
            return "what the provider stores belongs to everybody whom the route's key serves"
        if below.endswith((":batchGenerateContent", ":predictLongRunning")) or below.startswith("batches"):
            return "it runs when nobody holds room for it"
        return None


def _model(name: str) -> dict[str, Any]:
    methods = ["generateContent", "streamGenerateContent", "countTokens"]
    return {"name": f"models/{name}", "displayName": name, "supportedGenerationMethods": methods}
