"""Gemini's generateContent and streamGenerateContent: what a request asks for, and what it may."""

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, unquote

from ambit.api.model_route import Provider
from ambit.gateway.models import strict_json
from ambit.gateway.models.fields import prompt_of
from ambit.gateway.models.gemini_answer import ArrayMeter, EventMeter, usage_of_document
from ambit.gateway.models.gemini_content import Judged, canonical
from ambit.gateway.models.json_meter import JsonMeter
from ambit.gateway.models.strict_json import malformed
from ambit.gateway.models.wire_format import TOKENS_PER_MESSAGE, Call, Meter
from ambit.gateway.prefixes import Prompt
from ambit.gateway.server.http import Headers, Request

VERSIONS: Final = ("v1beta", "v1", "v1alpha")
"""Of Google's API; its SDKs and command lines do not agree on one."""
_PATH: Final = re.compile(rf"/({'|'.join(VERSIONS)})/models/([^/]+):([A-Za-z]+)")
_MAX_CANDIDATES: Final = 8


class GeminiGenerate:
    """The wire format of `POST /VERSION/models/MODEL:generateContent` and `…:streamGenerateContent`."""

    provider = Provider.GEMINI

    def __init__(self, verb: str) -> None:
        self._verb = verb
        self._stream = verb == "streamGenerateContent"

    def serves(self, path: str) -> bool:
        return serves(path, self._verb)

    def parse(self, request: Request) -> Call:
        judged = Judged(strict_json.decode_object(request.body))
        where = "generationConfig."
        choices = strict_json.positive_int(judged.config, "candidateCount", where) or 1
        if choices > _MAX_CANDIDATES:
            raise malformed(f"{where}candidateCount: write at most {_MAX_CANDIDATES}", f"{where}candidateCount")
        return Call(
            model=model_in(request),
            stream=self._stream,
            prompt_tokens_bound=judged.prompt_tokens_bound,
            choices=choices,
            asked_output_tokens=strict_json.positive_int(judged.config, "maxOutputTokens", where),
            floor_output_tokens=0,
            wants_usage=True,
            fields=judged.fields,
            hides_output=_may_think(judged.config.get("thinkingConfig")),
            prompt=(lambda: _prompt(judged.fields)) if judged.whole else None,
        )

    def rewrite(self, call: Call, model: str, output_tokens: int) -> bytes:
        fields = {name: value for name, value in call.fields.items() if name != "model"}
        config: dict[str, Any] = {**(call.fields.get("generationConfig") or {}), "maxOutputTokens": output_tokens}
        if config.get("thinkingConfig") is not None:
            config["thinkingConfig"] = _clamped_thinking(config["thinkingConfig"], output_tokens)
        return strict_json.encode({**fields, "generationConfig": config})

    def target(self, request: Request, model: str) -> str:
        events = self._stream and "alt=sse" in request.query.split("&")
        return target(request, model, "?alt=sse" if events else "")

    def credential(self, key: str) -> Headers:
        return credential(key)

    def meter(self, call: Call, event_stream: bool) -> Meter:
        if event_stream:
            return EventMeter(call)
        return ArrayMeter(call) if call.stream else JsonMeter(usage_of_document)


def serves(path: str, verb: str) -> bool:
    """Whether the path is a call of this verb on one model."""
    match = _PATH.fullmatch(path)
    return match is not None and match[3] == verb


def model_in(request: Request) -> str:
    """The client's name of the model, which stands in the path."""
    return unquote(_parts(request)[1])


def target(request: Request, model: str, query: str = "") -> str:
    """The client's path with the backend's model. Nothing of the client's query is passed on, where its key may be."""
    version, _, verb = _parts(request)
    return f"/{version}/models/{quote(model, safe='')}:{verb}{query}"


def credential(key: str) -> Headers:
    """How Gemini takes its key."""
    return ((b"x-goog-api-key", key.encode("utf-8")),)


def _parts(request: Request) -> tuple[str, str, str]:
    """Version, model and verb of a path that a format of Gemini's serves."""
    match = _PATH.search(request.path)
    if match is None:
        raise ValueError(f"{request.path} is none of this format's paths")
    return match[1], match[2], match[3]


def _thinking(given: Any) -> dict[str, Any]:
    where = "generationConfig.thinkingConfig"
    return canonical(strict_json.an_object(given, where), ("thinkingBudget", "includeThoughts"), f"{where}.")


def _prompt(fields: Mapping[str, Any]) -> Prompt:
    config: dict[str, Any] = {**(fields.get("generationConfig") or {}), "maxOutputTokens": None, "candidateCount": None}
    bounds = [len(strict_json.encode(content)) + TOKENS_PER_MESSAGE for content in fields["contents"]]
    return prompt_of({**fields, "generationConfig": config}, "contents", (), bounds)


def _may_think(given: Any) -> bool:
    """Thoughts are shown as a summary at most; a model that is not told otherwise may think."""
    return given is None or _thinking(given).get("thinkingBudget") != 0


def _clamped_thinking(given: Any, output_tokens: int) -> dict[str, Any]:
    """Thoughts are part of the output, so that a budget above its limit would leave nothing to answer with."""
    thinking = _thinking(given)
    budget = thinking.get("thinkingBudget")
    if isinstance(budget, int) and budget >= output_tokens:
        return {**thinking, "thinkingBudget": max(output_tokens - 1, 0)}
    return thinking
