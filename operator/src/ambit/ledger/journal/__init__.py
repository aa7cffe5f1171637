"""Where changes are kept so that nothing that was answered is ever lost."""

from collections.abc import Iterator
from typing import Protocol


class JournalError(Exception):
    """The journal did not take a batch, or cannot be read. Whether the batch is kept is unknown: replay to know."""


class Journal(Protocol):
    """Batches of changes as bytes, in order, and a snapshot that stands for all before it. One writer at a time.

    Every method blocks, and all are called from one thread. All raise `JournalError`.
    """

    def epoch(self) -> int:
        """How many writers there were, this one included."""
        ...

    def snapshot(self) -> bytes | None:
        """The last snapshot."""
        ...

    def batches(self) -> Iterator[bytes]:
        """The batches since the last snapshot, in order."""
        ...

    def append(self, batch: bytes) -> None:
        """Keeps a batch, whole or not at all. It is on the disk when this returns."""
        ...

    def compact(self, snapshot: bytes) -> None:
        """Keeps a snapshot of the tree after the last batch, and drops what it stands for, in one step."""
        ...

    def close(self) -> None:
        """Lets go of the journal."""
        ...
