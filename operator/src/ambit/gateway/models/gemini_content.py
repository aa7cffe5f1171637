"""What a request in Gemini's format may hold, and what of it is text.

Google's servers read each field by two names, `generationConfig` and `generation_config`: here it is brought to the
first, so that what is judged is what is sent.
"""

from collections.abc import Mapping
from typing import Any, Final

from ambit.gateway.models import strict_json
from ambit.gateway.models.fields import ANOTHER_LIMIT, ANOTHER_MODEL, Fields
from ambit.gateway.models.strict_json import malformed, not_bounded
from ambit.gateway.models.wire_format import TOKENS_PER_MESSAGE

AT_THE_PROVIDER: Final = "runs at the provider, past the gateway"
_A_PRICE_OF_ITS_OWN: Final = "has a price of its own, which the route does not state"
_REQUEST: Final = (
    *("contents", "systemInstruction", "tools", "toolConfig", "cachedContent", "generationConfig", "safetySettings"),
    *("labels", "serviceTier", "model", "generateContentRequest", "store", "continuationToken"),
)
REQUEST_FIELDS: Final = Fields(
    prompt=("contents", "systemInstruction", "tools", "toolConfig", "cachedContent", "generationConfig"),
    settings=("safetySettings", "labels", "serviceTier", "model", "store"),
    refused={
        "continuationToken": "goes on with what the provider has stored, past the bound",
        "generateContentRequest": "belongs to countTokens",
        "maxOutputTokens": "belongs into generationConfig",
        "candidateCount": "belongs into generationConfig",
    },
)
_CONFIG: Final = (
    *("maxOutputTokens", "candidateCount", "thinkingConfig", "responseModalities", "speechConfig", "imageConfig"),
    *("temperature", "topP", "topK", "stopSequences", "seed", "presencePenalty", "frequencyPenalty", "logprobs"),
    *("responseMimeType", "responseSchema", "responseJsonSchema", "responseFormat", "responseLogprobs"),
    *("mediaResolution", "routingConfig", "modelSelectionConfig", "audioTranscriptionConfig", "translationConfig"),
)
_CONFIG_FIELDS: Final = Fields(
    prompt=(),
    settings=tuple(name for name in _CONFIG if name not in ("speechConfig", "imageConfig")),
    refused={
        **dict.fromkeys(("speechConfig", "imageConfig"), _A_PRICE_OF_ITS_OWN),
        **dict.fromkeys(("maxTokens", "n", "numCandidates"), ANOTHER_LIMIT),
    },
)
_PARTS: Final = (
    *("text", "thought", "thoughtSignature", "functionCall", "functionResponse", "inlineData", "fileData"),
    *("executableCode", "codeExecutionResult", "mediaResolution", "videoMetadata", "partMetadata"),
)
_MEDIA: Final = ("inlineData", "fileData")
_BOUNDED_MEDIA: Final = ("image/", "text/", "application/pdf", "application/json")
"""Media that cost what input costs; audio and video do not."""


def canonical(fields: Mapping[str, Any], names: tuple[str, ...], where: str) -> dict[str, Any]:
    """The object with its known fields under their first names. Raises RefusedCall where one came under both."""
    made: dict[str, Any] = {}
    for name, value in fields.items():
        first = _FIRST_NAMES.get(name, name)
        first = first if first in names else name
        if first in made:
            raise malformed(f"{where}{first} stands twice, under two names", f"{where}{first}")
        made[first] = value
    return made


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


_FIRST_NAMES: Final = {
    _snake(name): name
    for names in (_REQUEST, _CONFIG, _PARTS, ("mimeType", "thinkingBudget", "functionDeclarations", "includeThoughts"))
    for name in names
}


class Judged:
    """A request's body, brought to its first names and judged. Raises RefusedCall."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        self.fields = canonical(body, _REQUEST, "")
        REQUEST_FIELDS.check(self.fields)
        self.whole = self.fields.get("cachedContent") is None
        self.messages = 1
        self.config = self._config()
        self.fields["contents"] = self._contents(self.fields.get("contents"))
        if self.fields.get("systemInstruction") is not None:
            self.fields["systemInstruction"] = self._content(self.fields["systemInstruction"], "systemInstruction")
        if self.fields.get("tools") is not None:
            self.fields["tools"] = self._tools(self.fields["tools"])
        tier = self.fields.get("serviceTier")
        if tier is not None and str(tier).lower() not in (
            "standard",
            "flex",
            "service_tier_unspecified",
            "unspecified",
        ):
            raise not_bounded("serviceTier", f"{tier!r} {_A_PRICE_OF_ITS_OWN}")

    @property
    def prompt_tokens_bound(self) -> int | None:
        if not self.whole:
            return None
        return REQUEST_FIELDS.prompt_bytes(self.fields) + TOKENS_PER_MESSAGE * self.messages

    def _config(self) -> dict[str, Any]:
        given = self.fields.get("generationConfig")
        if given is None:
            return {}
        config = canonical(strict_json.an_object(given, "generationConfig"), _CONFIG, "generationConfig.")
        _CONFIG_FIELDS.check(config, "generationConfig.")
        for name in ("routingConfig", "modelSelectionConfig"):
            if config.get(name) is not None:
                raise not_bounded(f"generationConfig.{name}", ANOTHER_MODEL)
        modalities = config.get("responseModalities")
        if modalities is not None and modalities not in ([], ["TEXT"]):
            raise not_bounded("generationConfig.responseModalities", "only TEXT can be bounded in this version")
        self.fields["generationConfig"] = config
        return config

    def _contents(self, value: Any) -> list[dict[str, Any]]:
        contents = strict_json.object_list([value] if isinstance(value, dict) else value, "contents")
        return [self._content(one, f"contents[{index}]") for index, one in enumerate(contents)]

    def _content(self, value: Any, where: str) -> dict[str, Any]:
        content = dict(strict_json.an_object(value, where))
        parts = content.get("parts")
        if parts is not None:
            listed = strict_json.object_list([parts] if isinstance(parts, dict) else parts, f"{where}.parts")
            content["parts"] = [self._part(part, f"{where}.parts[{index}]") for index, part in enumerate(listed)]
        self.messages += 1
        return content

    def _part(self, value: Mapping[str, Any], where: str) -> dict[str, Any]:
        part = canonical(value, _PARTS, f"{where}.")
        for name in part:
            if name not in _PARTS:
                raise not_bounded(f"{where}.{name}", "such content cannot be bounded in this version")
        for name in _MEDIA:
            if part.get(name) is not None:
                part[name] = self._media(part[name], f"{where}.{name}")
        if part.get("functionResponse") is not None:  # it may hold images and files that a tool gave back
            part["functionResponse"] = self._content(part["functionResponse"], f"{where}.functionResponse")
        return part

    def _media(self, value: Any, where: str) -> dict[str, Any]:
        media = canonical(strict_json.an_object(value, where), ("mimeType",), f"{where}.")
        kind = media.get("mimeType")
        if not isinstance(kind, str) or not kind.lower().startswith(_BOUNDED_MEDIA):
            raise not_bounded(f"{where}.mimeType", f"{kind!r} {_A_PRICE_OF_ITS_OWN}; images, PDFs and text are bounded")
        self.whole = False
        return media

    def _tools(self, value: Any) -> list[dict[str, Any]]:
        tools: list[dict[str, Any]] = []
        for index, given in enumerate(strict_json.object_list(value, "tools")):
            tool = canonical(given, ("functionDeclarations",), f"tools[{index}].")
            for name, held in tool.items():
                if name != "functionDeclarations" and held is not None:
                    raise not_bounded(f"tools[{index}].{name}", AT_THE_PROVIDER)
            self.messages += len(strict_json.object_list(tool.get("functionDeclarations") or [], f"tools[{index}]"))
            tools.append(tool)
        return tools
