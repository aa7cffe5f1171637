"""What falls due when: buckets by time. Setting a timer and taking it back costs the same however many there are.

A heap would keep a tuple for every hold until the hold's expiry, long after most are settled.
"""

import heapq
from typing import Generic, TypeVar

T = TypeVar("T")
NEVER = 2**63


class Timers(Generic[T]):
    """Things that fall due at multiples of `grain_ms`: never early, and less than a grain late."""

    __slots__ = ("_buckets", "_grain_ms", "_slots", "next_ms")

    def __init__(self, grain_ms: int) -> None:
        self._grain_ms = grain_ms
        self._buckets: dict[int, dict[T, None]] = {}
        self._slots: list[int] = []
        """A heap of the buckets' keys; of one that was emptied meanwhile, too."""
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

    def due(self, now_ms: int) -> list[T]:
        """Takes out all that is due, in order of time and of being set."""
        found: list[T] = []
        while self._slots and self._slots[0] * self._grain_ms <= now_ms:
            found.extend(self._buckets.pop(heapq.heappop(self._slots), ()))
        self.next_ms = self._slots[0] * self._grain_ms if self._slots else NEVER
        return found
