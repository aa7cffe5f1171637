"""The meter of an answer that is one JSON document, in any format: bytes pass at once, usage is read at the end."""

from collections.abc import Callable
from typing import Final

from ambit.gateway.models.unreadable import UNREADABLE
from ambit.gateway.models.wire_format import TokenUsage

MAX_DOCUMENT_BYTES: Final = 32 * 2**20


class JsonMeter:
    """Keeps the document until it is complete; one that is too large, or cannot be read, is passed on, its usage
    unknown. `usage_of` may raise UNREADABLE.
    """

    def __init__(self, usage_of: Callable[[bytes], TokenUsage | None]) -> None:
        self._usage_of = usage_of
        self._pieces: list[bytes] = []
        self._size = 0
        self._usage: TokenUsage | None = None

    @property
    def usage(self) -> TokenUsage | None:
        return self._usage

    @property
    def output_bound(self) -> int | None:
        return None  # all of it comes at once

    def feed(self, data: bytes) -> bytes:
        self._size += len(data)
        if self._size <= MAX_DOCUMENT_BYTES:
            self._pieces.append(data)
        else:
            self._pieces.clear()
        return data

    def end(self) -> bytes:
        if self._size <= MAX_DOCUMENT_BYTES:
            try:
                self._usage = self._usage_of(b"".join(self._pieces))
            except UNREADABLE:
                self._usage = None  # what is not understood is charged by the hold
        self._pieces.clear()
        return b""

    def cut(self) -> None:
        """A document has no early end: whoever cuts it breaks the connection off."""
