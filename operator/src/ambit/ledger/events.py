"""What connected components are told as it happens: kills, endings, changed limits. Only what is on disk is told."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable

import msgspec

from ambit.ledger import changes, wire

KEPT_EVENTS = 10_000
"""How many past events a component that was away for a moment can still be told."""
QUEUE_LIMIT = 10_000
"""How far a component may lag before it is cut off; it comes back and is told to look again."""


def events_of(change: changes.AnyChange) -> wire.AnyEvent | None:
    """The event of a change, if it is one that others have to know."""
    match change:
        case changes.SessionOver(cut=True):
            return wire.SessionKilled(change.path, change.reason)
        case changes.SessionOver():
            return wire.SessionEnded(change.path, change.reason)
        case changes.AccountChanged() | changes.AccountGone() | changes.TopUpApplied() | changes.Adjusted():
            return wire.LimitsChanged(change.path)
        case changes.HoldsRecalled():
            return wire.Recalled(tuple(hold_id for _, hold_id in change.holds))
        case changes.LimitReached():
            return wire.LimitWarned(change.path, change.window, change.resource, change.percent)
        case changes.SessionParked():
            return wire.AccountParked(change.path)
        case changes.SessionWoken():
            return wire.AccountWoken(change.path)
        case changes.KillEnded():
            return wire.KillConfirmed(change.path, change.how, change.after_ms)
        case _:
            return None


_WORD = b""
"""Stands for the word in a listener's queue: what it says is found when it is sent."""


def _still_here() -> bytes:
    return b": still here\n\n"


class Events:
    """Numbered events of one epoch, and those who listen. Ids are `<epoch>-<number>`.

    Nothing is said, not even that nothing happened, unless `is_writer` says so just then: another may be the writer by
    now, and have been told of a kill. `word` is the comment that says that there is still somebody here, as of then.
    """

    def __init__(self, epoch: int, is_writer: Callable[[], bool], word: Callable[[], bytes] = _still_here) -> None:
        self._epoch = epoch
        self.is_writer = is_writer
        self._word = word
        self._number = 0
        self._kept: deque[tuple[int, bytes]] = deque(maxlen=KEPT_EVENTS)
        self._listeners: set[asyncio.Queue[bytes | None]] = set()

    def publish(self, batch: Iterable[changes.AnyChange]) -> None:
        """Tells every listener what a batch that is on disk means to them."""
        for change in batch:
            event = events_of(change)
            if event is None:
                continue
            self._tell(event)

    def resynchronise(self) -> None:
        """Tells every listener that it may have missed something."""
        self._tell(wire.Resynchronised())

    def speak(self) -> None:
        """Says the word to every listener, behind the events before it."""
        self._put(_WORD)

    async def listen(self, last_id: str | None, silence_s: float) -> AsyncGenerator[bytes]:
        """Frames of server-sent events after `last_id`, for ever; a comment after each `silence_s` without one.

        It ends where this may no longer be the writer: who listens comes again, and finds whoever is.
        Where `last_id` is unknown or too old, the first event is `Resynchronised`.
        """
        listener: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._listeners.add(listener)
        for frame in self._missed(last_id):
            listener.put_nowait(frame)
        try:
            while True:
                try:
                    async with asyncio.timeout(silence_s):
                        frame = await listener.get()
                except TimeoutError:
                    frame = _WORD
                if frame is None or not self.is_writer():
                    return
                yield frame or self._word()
        finally:
            self._listeners.discard(listener)

    def close(self) -> None:
        """Ends every listener's stream."""
        for listener in list(self._listeners):
            self._cut(listener)

    def _tell(self, event: wire.AnyEvent) -> None:
        self._number += 1
        frame = self._frame(event)
        self._kept.append((self._number, frame))
        self._put(frame)

    def _put(self, frame: bytes) -> None:
        for listener in list(self._listeners):
            if listener.qsize() >= QUEUE_LIMIT:
                self._cut(listener)
            else:
                listener.put_nowait(frame)

    def _cut(self, listener: asyncio.Queue[bytes | None]) -> None:
        listener.put_nowait(None)
        self._listeners.discard(listener)

    def _missed(self, last_id: str | None) -> list[bytes]:
        epoch, _, number = (last_id or "").partition("-")
        if epoch == str(self._epoch) and number.isdecimal():
            last = int(number)
            oldest = self._kept[0][0] if self._kept else self._number + 1
            if oldest - 1 <= last <= self._number:
                return [frame for kept, frame in self._kept if kept > last]
        return [self._frame(wire.Resynchronised())]

    def _frame(self, event: wire.AnyEvent) -> bytes:
        return b"id: %d-%d\ndata: %s\n\n" % (self._epoch, self._number, msgspec.json.encode(event))
