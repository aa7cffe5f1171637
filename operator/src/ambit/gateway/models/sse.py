"""Splits a stream of server-sent events where events end, whatever pieces it comes in."""

import re
from typing import Final

_EVENT_END: Final = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
MAX_EVENT_BYTES: Final = 4 * 2**20


class EventSplitter:
    """Gives out whole events, with all their bytes; what is begun waits for its end.

    An event that never ends is given out in pieces of `MAX_EVENT_BYTES`: it is not understood, but it is not lost.
    """

    def __init__(self) -> None:
        self._pending = bytearray()
        self._searched = 0

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
            events.append(bytes(pending[start:end]))
            start = end
            self._searched = end
        del pending[:start]
        self._searched = max(0, len(pending) - 3)  # the longest end is four bytes
        if len(pending) > MAX_EVENT_BYTES:
            events.append(self.rest())
        return events

    def rest(self) -> bytes:
        """What was begun and not completed; forgotten here."""
        rest = bytes(self._pending)
        self._pending.clear()
        self._searched = 0
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
