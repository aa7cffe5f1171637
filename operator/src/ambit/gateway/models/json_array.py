"""Splits a stream that is one JSON array where its elements end, whatever pieces it comes in."""

import re
from typing import Final

from ambit.gateway.models.sse import MAX_EVENT_BYTES, Fragment

_STRUCTURE: Final = re.compile(rb'["\\\[\]{}]')
_IN_STRING: Final = re.compile(rb'["\\]')


class ArraySplitter:
    """Gives out pieces that end with an element or with the array; what is begun waits for its end.

    An element that is longer than `MAX_EVENT_BYTES` is given out in `Fragment`s: it is not understood, but it is not
    lost.
    """

    def __init__(self) -> None:
        self._pending = bytearray()
        self._scanned: int = 0
        self._depth = 0
        self._in_string = False
        self._too_long = False
        """Whether a part of the present piece was given out already."""
        self.closed = False
        """Whether the array has ended."""
        self.elements = 0
        """How many elements were given out whole."""

    def feed(self, data: bytes) -> list[bytes]:
        """The pieces that these bytes complete: an element with what stood before it, or the array's end."""
        self._pending += data
        pieces: list[bytes] = []
        while (end := self._next_end()) is not None:
            too_long = self._too_long or end > MAX_EVENT_BYTES
            pieces.append(Fragment(self._pending[:end]) if too_long else bytes(self._pending[:end]))
            self._too_long = False
            del self._pending[:end]
            self._scanned = 0
        if len(self._pending) > MAX_EVENT_BYTES:
            self._too_long = True
            pieces.append(Fragment(self._pending[: self._scanned]))
            del self._pending[: self._scanned]
            self._scanned = 0
        return pieces

    def rest(self) -> bytes:
        """What was begun and not completed; forgotten here."""
        rest = Fragment(self._pending) if self._too_long else bytes(self._pending)
        self._pending.clear()
        self._scanned = 0
        self._too_long = False
        return rest

    def _next_end(self) -> int | None:
        """Where the next element, or the array, ends among the bytes that are kept."""
        pending = self._pending
        while True:
            match = (_IN_STRING if self._in_string else _STRUCTURE).search(pending, self._scanned)
            if match is None:
                self._scanned = len(pending)
                return None
            self._scanned = match.end()
            match match[0]:
                case b"\\":  # never the last byte: what it escapes may be still to come
                    if match.end() == len(pending):
                        self._scanned = match.start()
                        return None
                    self._scanned += 1
                case b'"':
                    self._in_string = not self._in_string
                case b"[" | b"{":
                    self._depth += 1
                case _:
                    self._depth -= 1
                    if self._depth == 1:
                        self.elements += 1
                        return self._scanned
                    if self._depth <= 0:
                        self.closed = True
                        return self._scanned


def element_of(piece: bytes) -> bytes:
    """The element of a piece, without the bracket or comma that stood before it; empty for the array's end."""
    at = piece.find(b"{")
    return piece[at:] if at >= 0 else b""
