"""Splits a stream of server-sent events where events end, whatever pieces it comes in."""

import re
from typing import Final

_EVENT_END: Final = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_END_BEGUN: Final = 3
"""How many bytes of an event's end may have come without all of it."""
MAX_EVENT_BYTES: Final = 4 * 2**20


class Fragment(bytes):
    """A part of an event or element that is longer than `MAX_EVENT_BYTES`. It is passed on and never read: where such
    parts begin is chance, and what stands there may be a quotation. Meters count its bytes, and know no usage after it.
    """


class EventSplitter:
    """Gives out whole events, with all their bytes; what is begun waits for its end.

    An event that is longer than `MAX_EVENT_BYTES` is given out in `Fragment`s: it is not understood, but it is not
    lost. Which events those are does not depend on the pieces in which it comes.
    """

    def __init__(self) -> None:
        self._pending = bytearray()
        self._searched = 0
        self._too_long = False
        """Whether a part of the present event was given out already."""

    def feed(self, data: bytes) -> list[bytes]:
        """The events that these bytes complete."""
        pending = self._pending
        pending += data
        events: list[bytes] = []
        start = 0
        while True:
            match = _EVENT_END.search(pending, max(start, self._searched))
            if match is None:
                break
            end = match.end()
            if end == len(pending) and pending[end - 1] == 0x0D:
                break  # the line feed of this carriage return may be still to come
            too_long = self._too_long or end - start > MAX_EVENT_BYTES
            events.append(Fragment(pending[start:end]) if too_long else bytes(pending[start:end]))
            self._too_long = False
            start = end
            self._searched = end
        del pending[:start]
        if len(pending) > MAX_EVENT_BYTES:
            self._too_long = True
            events.append(Fragment(pending[:-_END_BEGUN]))
            del pending[:-_END_BEGUN]
        self._searched = max(0, len(pending) - _END_BEGUN)
        return events

    def rest(self) -> bytes:
        """What was begun and not completed; forgotten here."""
        rest = Fragment(self._pending) if self._too_long else bytes(self._pending)
        self._pending.clear()
        self._searched = 0
        self._too_long = False
        return rest


def event_data(event: bytes) -> bytes:
    """The `data` of one event: its data lines, joined by line feeds."""
    if event.startswith(b"data: ") and event.count(b"\n") == 2 and event.endswith(b"\n\n"):
        return event[6:-2].rstrip(b"\r")
    lines = event.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    return b"\n".join(line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:"))


def event(data: bytes, name: str | None = None) -> bytes:
    """One event, as it stands on the wire."""
    head = b"event: %b\n" % name.encode("ascii") if name else b""
    return b"%bdata: %b\n\n" % (head, data)
