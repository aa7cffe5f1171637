"""Which path means what: the providers' surfaces, their wire formats, and the questions for models."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from ambit.gateway.models.anthropic_surface import AnthropicSurface
from ambit.gateway.models.gemini_surface import GeminiSurface
from ambit.gateway.models.openai_surface import OpenAISurface
from ambit.gateway.models.wire_format import RefusedCall, Surface, WireFormat
from ambit.telemetry.reasons import Refusal

OPENAI: Final = OpenAISurface()
SURFACES: Final[tuple[Surface, ...]] = (OPENAI, AnthropicSurface(), GeminiSurface())


@dataclass(frozen=True, slots=True)
class ModelQuestion:
    """A client asks which models there are, or for one of them."""

    name: str | None


def surface_of(path: str) -> Surface:
    """The surface in whose shape a path is answered; OpenAI's where the path belongs to none."""
    for surface in SURFACES:
        if path.startswith(f"{surface.prefix}/"):
            return surface
    return OPENAI


def asked_for(surface: Surface, method: str, path: str) -> WireFormat | ModelQuestion:
    """What a request to the surface is. Raises RefusedCall where the gateway has no such path."""
    if path.startswith(f"{surface.prefix}/"):
        below = path.removeprefix(surface.prefix)
        if method == "POST":
            for wire in surface.formats:
                if wire.serves(below):
                    return wire
        elif method == "GET":
            for models in surface.models_paths:
                if below == models:
                    return ModelQuestion(None)
                if below.startswith(f"{models}/"):
                    return ModelQuestion(unquote(below.removeprefix(f"{models}/")))
        why_not = surface.why_not(below)
        if why_not is not None:
            raise RefusedCall(404, Refusal.NOT_FOUND, f"{method} {path} is not served: {why_not}")
    raise RefusedCall(404, Refusal.NOT_FOUND, f"there is no {method} {path} at this gateway")
