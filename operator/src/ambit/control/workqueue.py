"""A work queue as in controller-runtime: deduplicated, delayed, with a back-off of its own per key.

`Schedule` is the whole rule, over values and a clock that is handed in; `WorkQueue` adds waiting. A key that is added
while it is being worked on is not lost and not worked on twice at the same time: it becomes due again at `done`.
"""

import asyncio
import heapq
from collections.abc import Callable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=tuple[str, ...])

FIRST_RETRY_S = 0.1
LONGEST_RETRY_S = 60.0


class Schedule(Generic[Key]):
    """Which key is due when. All times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._pushed = 0
        self._in_flight: set[Key] = set()
        self._again: dict[Key, float] = {}
        self._failures: dict[Key, int] = {}

    def __len__(self) -> int:
        return len(self._due) + len(self._again)

    def add(self, key: Key, due: float) -> None:
        """Makes `key` due at `due`, or earlier where it already is."""
        if key in self._in_flight:
            self._again[key] = min(due, self._again.get(key, due))
        elif due < self._due.get(key, float("inf")):
            self._due[key] = due
            self._pushed += 1
            heapq.heappush(self._heap, (due, self._pushed, key))

    def take(self, now: float) -> Key | None:
        """The key that is due the longest, now in flight; None where none is due."""
        while self._heap:
            due, _, key = self._heap[0]
            if self._due.get(key) != due:  # it was made due earlier since, and has been taken
                heapq.heappop(self._heap)
                continue
            if due > now:
                return None
            heapq.heappop(self._heap)
            del self._due[key]
            self._in_flight.add(key)
            return key
        return None

    def done(self, key: Key) -> None:
        """Ends the work on `key`; what was added meanwhile counts from here."""
        self._in_flight.discard(key)
        due = self._again.pop(key, None)
        if due is not None:
            self.add(key, due)

    def next_due(self) -> float | None:
        """When the next key becomes due; None where nothing waits."""
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def retry_delay(self, key: Key) -> float:
        """Counts a failure of `key`; how many seconds to let it rest: 0.1, 0.2, 0.4 … 60."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        return min(FIRST_RETRY_S * 2 ** min(failures, 16), LONGEST_RETRY_S)

    def forget_failures(self, key: Key) -> None:
        self._failures.pop(key, None)


class WorkQueue(Generic[Key]):
    """A `Schedule` that can be waited on. For one event loop; not thread-safe."""

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock or asyncio.get_running_loop().time
        self._schedule = Schedule[Key]()
        self._wakers: set[asyncio.Future[None]] = set()

    def __len__(self) -> int:
        return len(self._schedule)

    def add(self, key: Key, delay_s: float = 0.0) -> None:
        """Makes `key` due in `delay_s` seconds, or earlier where it already is."""
        self._schedule.add(key, self._clock() + delay_s)
        self._wake()

    def retry(self, key: Key) -> float:
        """Makes a failed `key` due after its back-off; returns that, in seconds."""
        delay = self._schedule.retry_delay(key)
        self.add(key, delay)
        return delay

    def forget_failures(self, key: Key) -> None:
        self._schedule.forget_failures(key)

    def done(self, key: Key) -> None:
        self._schedule.done(key)
        self._wake()

    async def get(self) -> Key:
        """Waits for a due key and takes it; `done` must follow."""
        while True:
            now = self._clock()
            key = self._schedule.take(now)
            if key is not None:
                self._wake()  # another worker takes over watching for the next one
                return key
            due = self._schedule.next_due()
            waker: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._wakers.add(waker)
            try:
                await asyncio.wait({waker}, timeout=None if due is None else max(due - now, 0.001))
            finally:
                self._wakers.discard(waker)
                waker.cancel()

    def _wake(self) -> None:
        for waker in self._wakers:
            if not waker.done():
                waker.set_result(None)
                return
