"""The content of Anthropic's messages and tools: what of it is text, what is an image, what fills the context.

The figures are Anthropic's published ones; `docs/counting.md` says where and when.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ambit.gateway.models import strict_json
from ambit.gateway.models.fields import Fields
from ambit.gateway.models.strict_json import not_bounded
from ambit.gateway.models.wire_format import TOKENS_PER_MESSAGE

IMAGE_TOKENS: Final = 4784
TOOL_PROMPT_TOKENS: Final = 530
AT_THE_PROVIDER: Final = "runs at the provider, past the gateway"

_BLOCK_FIELDS: Final = Fields(prompt=("type", "cache_control", "content", "source"), settings=())
_TEXT_BLOCKS: Final = frozenset(
    {"text", "tool_use", "tool_result", "thinking", "redacted_thinking", "search_result", "tool_reference"}
)
_TOOL_FIELDS: Final = Fields(prompt=("type", "cache_control", "allowed_callers"), settings=())
_CLIENT_TOOLS: Final[Mapping[str, int]] = {"bash_": 245, "text_editor_": 700, "computer_20": 735 + 499}
"""Tools of the provider's that run at the client, by the beginning of their type: what each adds to the prompt."""


@dataclass
class Judged:
    """What was found while a request's content was read."""

    tokens_beyond_text: int = 0
    """Of images, and around messages and tools."""
    bytes_not_text: int = 0
    """Of images: they stand in the request, and are no text."""
    whole: bool = True
    """Whether all of the prompt stands in the request."""
    one_hour_cache: str | None = None
    """The first field that asks for cache writes of an hour."""

    def content(self, content: Any, where: str) -> None:
        """Reads a message's, a system prompt's or a tool result's content. Raises RefusedCall."""
        if content is None or isinstance(content, str):
            return
        for index, block in enumerate(strict_json.object_list(content, where)):
            self._block(block, f"{where}[{index}]")

    def tools(self, value: Any) -> None:
        """Reads the tools, all of which must run at the client. Raises RefusedCall."""
        if value is None:
            return
        tools = strict_json.object_list(value, "tools")
        for index, tool in enumerate(tools):
            where = f"tools[{index}]"
            kind = tool.get("type")
            if kind not in (None, "custom"):
                self.tokens_beyond_text += _tokens_of_client_tool(kind, where)
            _TOOL_FIELDS.check(tool, f"{where}.")
            if tool.get("allowed_callers") not in (None, ["direct"]):
                raise not_bounded(f"{where}.allowed_callers", f"code that calls it {AT_THE_PROVIDER}")
            self.cache_control(tool, f"{where}.")
        self.tokens_beyond_text += TOKENS_PER_MESSAGE * len(tools) + (TOOL_PROMPT_TOKENS if tools else 0)

    def cache_control(self, fields: Mapping[str, Any], where: str) -> None:
        """Reads one `cache_control`. Raises RefusedCall."""
        given = fields.get("cache_control")
        if given is None:
            return
        ttl = strict_json.an_object(given, f"{where}cache_control").get("ttl")
        if ttl == "1h":
            self.one_hour_cache = self.one_hour_cache or f"{where}cache_control.ttl"
        elif ttl not in (None, "5m"):
            raise not_bounded(f"{where}cache_control.ttl", "only 5m and 1h have a price")

    def _block(self, block: Mapping[str, Any], where: str) -> None:
        kind = block.get("type")
        _BLOCK_FIELDS.check(block, f"{where}.")
        self.cache_control(block, f"{where}.")
        match kind:
            case "image":
                self.tokens_beyond_text += IMAGE_TOKENS
                self.bytes_not_text += len(strict_json.encode(block.get("source")))
            case "document":
                source = strict_json.an_object(block.get("source"), f"{where}.source")
                if source.get("type") == "content":
                    self.content(source.get("content"), f"{where}.source.content")
                elif source.get("type") != "text":
                    self.whole = False
            case str() if kind in _TEXT_BLOCKS:
                self.content(block.get("content"), f"{where}.content")
            case _:
                raise not_bounded(f"{where}.type", f"{kind!r} cannot be bounded in this version")


def _tokens_of_client_tool(kind: Any, where: str) -> int:
    for beginning, tokens in _CLIENT_TOOLS.items():
        if isinstance(kind, str) and kind.startswith(beginning):
            return tokens
    raise not_bounded(f"{where}.type", f"{kind!r} {AT_THE_PROVIDER}")
