"""What falls due when: buckets by time. Setting a timer and taking it back costs the same however many there are.

A heap would keep a tuple for every hold until the hold's expiry, long after most are settled.
"""

import heapq
from itertools import islice
from typing import Generic, TypeVar

T = TypeVar("T")
NEVER = 2**63
FEW_SLOTS = 64
"""So many that were emptied are never too many."""


class Timers(Generic[T]):
    """Things that fall due at multiples of `grain_ms`: never early, and less than a grain late."""

    __slots__ = ("_buckets", "_grain_ms", "_slots", "next_ms")

    def __init__(self, grain_ms: int) -> None:
        self._grain_ms = grain_ms
        self._buckets: dict[int, dict[T, None]] = {}
        self._slots: list[int] = []
        """A heap of the buckets' keys; also of some that were emptied meanwhile, but not the first."""
        self.next_ms = NEVER
        """When something may fall due next."""

    def add(self, item: T, at_ms: int) -> int:
        """Sets a timer; the slot it is in, to take it back."""
        slot = -(-at_ms // self._grain_ms)
        bucket = self._buckets.get(slot)
        if bucket is None:
            bucket = self._buckets[slot] = {}
            heapq.heappush(self._slots, slot)
            self.next_ms = self._slots[0] * self._grain_ms
        bucket[item] = None
        return slot

    def remove(self, item: T, slot: int) -> None:
        """Takes a timer back, if it has not fallen due."""
        bucket = self._buckets.get(slot)
        if bucket is not None:
            bucket.pop(item, None)
            if not bucket:
                del self._buckets[slot]
                self._drop_emptied()

    def due(self, now_ms: int, at_most: int) -> list[T]:
        """Takes out what is due, in order of time and of being set: `at_most` so many, the rest when asked again."""
        found: list[T] = []
        while self.next_ms <= now_ms and len(found) < at_most:
            bucket = self._buckets[self._slots[0]]
            for item in list(islice(bucket, at_most - len(found))):
                del bucket[item]
                found.append(item)
            if not bucket:
                del self._buckets[self._slots[0]]
                self._drop_emptied()
        return found

    def __len__(self) -> int:
        """How much it keeps, in slots."""
        return len(self._slots)

    def _drop_emptied(self) -> None:
        """Nobody is to be woken for nothing, and what was set for a far day and taken back is not to pile up."""
        if len(self._slots) > 2 * len(self._buckets) + FEW_SLOTS:
            self._slots = list(self._buckets)
            heapq.heapify(self._slots)
        while self._slots and self._slots[0] not in self._buckets:
            heapq.heappop(self._slots)
        self.next_ms = self._slots[0] * self._grain_ms if self._slots else NEVER
