"""A request's fields: what is prompt, what is a setting, what moves the price, and what of the rest passes.

A field that the gateway does not know passes, and its bytes count as prompt. That is safe for tokens: the output limit
is the gateway's own, and usage settles what the provider counted. It is not for what multiplies a price or runs at the
provider, so such fields are listed and refused by name, in whatever spelling (`docs/design/0008-wire-formats.md`).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from ambit.gateway.models import strict_json
from ambit.gateway.models.strict_json import not_bounded
from ambit.gateway.prefixes import Part, Prompt

ANOTHER_LIMIT: Final = "another server's name for a limit that the gateway sets; leave it out"
ANOTHER_MODEL: Final = "would choose a model, a server or an addition that the route does not state"
OTHER_SERVERS: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("n_predict", "num_predict", "max_new_tokens", "max_length", "max_tokens_to_sample"), ANOTHER_LIMIT
    ),
    **dict.fromkeys(("best_of", "n_cmpl", "num_return_sequences", "num_completions"), ANOTHER_LIMIT),
    **dict.fromkeys(("models", "provider", "providers", "route", "preset", "plugins", "fallbacks"), ANOTHER_MODEL),
}
"""Of servers that speak OpenAI's formats and take more than OpenAI does (llama.cpp, vLLM, TGI, OpenRouter, LiteLLM)."""


class Fields:
    """The fields of one kind of object. Refused ones map to the reason why."""

    def __init__(
        self, *, prompt: tuple[str, ...], settings: tuple[str, ...], refused: Mapping[str, str] | None = None
    ) -> None:
        self._known = frozenset((*prompt, *settings))
        self._settings = frozenset(settings)
        self._refused = dict(refused or {})
        self._folded = {_folded(name): name for name in (*self._known, *self._refused)}

    def check(self, fields: Mapping[str, Any], where: str = "") -> None:
        """Refuses what moves the price, and what only looks like a field that the gateway has judged; null counts as
        absent. Raises RefusedCall.
        """
        for name, value in fields.items():
            if name in self._known or value is None:
                continue
            meant = self._folded.get(_folded(name))
            if meant is None:
                continue
            if meant in self._refused:
                raise not_bounded(f"{where}{name}", self._refused[meant])
            raise not_bounded(f"{where}{name}", f"some servers read this as {meant}; write it so")

    def prompt_bytes(self, fields: Mapping[str, Any]) -> int:
        """The UTF-8 bytes of everything that is no setting: an upper bound of the prompt's tokens."""
        return sum(len(strict_json.encode(value)) for name, value in fields.items() if name not in self._settings)


_NO_PROMPT: Final = frozenset({"stream", "stream_options", "metadata", "user", "safety_identifier", "prompt_cache_key"})


def prompt_of(fields: Mapping[str, Any], messages: str, limits: Sequence[str], bounds: Sequence[int]) -> Prompt:
    """The prompt in its parts: the list under `messages`, with the bound of each, and all else but the `limits` of the
    output and what concerns no model.
    """
    rest = {name: value for name, value in fields.items() if name not in _NO_PROMPT and name not in limits}
    parts = [
        Part(strict_json.encode(_without_marks(message)), bound)
        for message, bound in zip(rest.pop(messages), bounds, strict=True)
    ]
    return Prompt(strict_json.encode(rest), tuple(parts))


def _without_marks(message: Any) -> Any:
    """A message without its marks for caching, which clients move from call to call, and which are no tokens."""
    content = message.get("content")
    if not isinstance(content, list):
        return message
    blocks = cast("list[dict[str, Any]]", content)
    plain = [{name: value for name, value in block.items() if name != "cache_control"} for block in blocks]
    return {**message, "content": plain}


def _folded(name: str) -> str:
    """What a server that ignores case and separators makes of a name."""
    return name.replace("_", "").replace("-", "").casefold()
