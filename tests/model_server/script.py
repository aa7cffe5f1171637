"""What the scripted model server does with one request, read from the model's name."""

from typing import Literal
from urllib.parse import parse_qsl

import msgspec


class Script(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One behaviour. Times are milliseconds; a frame is one piece of output."""

    tag: str = ""
    """Means nothing; tells who asked, in what was received."""
    tokens: int = 3
    """Output tokens for each choice, unless the request allows fewer."""
    frame_tokens: int = 1
    """How many of them one frame of a stream has."""
    input: int | None = None
    """Input tokens in all; by default a quarter of the prompt's bytes."""
    cached: int = 0
    """Of the input, read from the cache."""
    cache_write: int = 0
    """Of the input, written to the cache (Anthropic)."""
    cache_write_1h: int = 0
    """Of what was written to the cache, for an hour (Anthropic)."""
    thoughts: int = 0
    """Output tokens that are billed and not shown, beside the others (Gemini)."""
    first_ms: int = 0
    """Before the head of the answer."""
    frame_ms: int = 0
    """Before each frame."""
    status: int = 200
    """Any other is answered with an error in the format's shape."""
    retry_after: int | None = None
    """Seconds, as a header of an error."""
    usage: Literal["true", "absent", "negative", "contradictory"] = "true"
    """What is said of the usage."""
    cut_after: int | None = None
    """Breaks the connection off after so many frames."""
    hang_after: int | None = None
    """Says nothing more after so many frames, and leaves the connection open."""
    ignore_max: bool = False
    """Writes `tokens` even where the request allows fewer."""


def script_of(model: str) -> Script:
    """The behaviour that a model's name asks for. Raises ValueError (also msgspec.ValidationError)."""
    _, _, query = model.partition("?")
    return msgspec.convert(dict(parse_qsl(query, strict_parsing=bool(query))), Script, strict=False)
