"""At most how many output tokens stand behind what a stream has shown: what holds are grown by while it goes on. Pure.

No byte-level tokenizer makes more tokens of a text than it has UTF-8 bytes. What a model writes around its text (the
end of a turn, the frame of a tool call) is billed and not shown: each such thing has an allowance of its own.
"""

from typing import Any, Final, cast

STRUCTURE_TOKENS: Final = 16
"""What a chat template may have a model write around an answer, a block, or a tool call."""
_OF_THE_FORMAT: Final = frozenset({"type", "role", "index", "id", "call_id", "item_id", "object", "status"})
"""Keys whose values the server writes, and not the model."""


def written(value: Any) -> int:
    """The bytes of every text in a decoded piece of an answer, at any depth, but for what the format itself says."""
    match value:
        case str():
            return len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))
        case dict():
            fields = cast("dict[str, Any]", value)
            return sum([written(field) for name, field in fields.items() if name not in _OF_THE_FORMAT])
        case list():
            return sum([written(item) for item in cast("list[Any]", value)])
        case _:
            return 0
