"""What the HTTP core accepts of a client, and for how long it waits."""

from dataclasses import dataclass

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes and seconds; each holds for one connection unless it says otherwise."""

    head_bytes: int = 64 * 1024
    headers: int = 128
    body_bytes: int = 10 * MIB
    all_bodies_bytes: int = 128 * MIB
    """Request bodies in memory at one time, over all connections of the process."""
    head_s: float = 10.0
    """From a request's first byte to the end of its head."""
    body_s: float = 60.0
    """From the end of the head to the end of the body."""
    idle_s: float = 75.0
    """Between requests."""
    linger_s: float = 2.0
    """How long a refused client may still be sending before its connection is closed (closing at once would reset it,
    and the answer would be lost)."""


class BodyMemory:
    """Counts the bytes of request bodies that are in memory, over all connections."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self.used_bytes = 0

    def take(self, count: int) -> bool:
        """Whether there was room; the caller gives back what it took."""
        if self.used_bytes + count > self._limit_bytes:
            return False
        self.used_bytes += count
        return True

    def give_back(self, count: int) -> None:
        self.used_bytes -= count
