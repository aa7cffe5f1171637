"""Where changes are kept so that nothing that was answered is ever lost.

A `Journal` is one writer's blocking hold on a store, a `Reader` anybody's look at it, a `Source` knows how to open
both. The writer itself uses a `Store`: the same as coroutines, so that a simulation can stand in for disks and threads.
"""

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from ambit.ledger.records import Record, RecordKind


class JournalError(Exception):
    """The journal did not take a batch, or cannot be read. Whether the batch is kept is unknown: replay to know."""


class Fenced(JournalError):
    """Another writer has a newer epoch. The batch is not kept, and no batch of this writer will be any more."""


class BatchesGone(JournalError):
    """A snapshot stands for batches that were asked for: begin there."""

    def __init__(self, wanted: int, found: int) -> None:
        super().__init__(f"batch {wanted} is gone, {found} comes next: begin at the snapshot")


class UnknownSchema(JournalError):
    """The store was written by a newer release, or is none of ours."""


class Batch(NamedTuple):
    """Changes that were committed together."""

    sequence: int
    """Rises by one with each batch."""
    changes: bytes


class Snapshot(NamedTuple):
    """A tree as bytes in chunks, which stands for every batch up to `upto`."""

    upto: int
    chunks: Iterator[bytes]


class Reader(Protocol):
    """Looks at a store, while another may write. Every method blocks and raises `JournalError`."""

    def snapshot(self) -> Snapshot | None:
        """The last snapshot."""
        ...

    def batches(self, after: int) -> Iterator[Batch]:
        """The batches after that sequence, in order, as far as they are committed now.

        Raises `BatchesGone` where a snapshot already stands for some of them.
        """
        ...

    def records(self, kind: RecordKind, path: str | None = None) -> Iterator[Record]:
        """The records of a kind, of one account or of all, oldest first."""
        ...

    def pin(self) -> None:
        """From now on it sees what is committed now, until it is closed: batches and records of one moment."""
        ...

    def write_snapshot(self, upto: int, chunks: Iterable[bytes]) -> None:
        """Keeps a snapshot beside the last one. It counts once the writer adopts it."""
        ...

    def close(self) -> None:
        """Lets go of the store."""
        ...


class Journal(Protocol):
    """One writer's hold on a store. Opening one takes a new epoch, which fences every writer before.

    Every method blocks, and all are called from one thread. All raise `JournalError`.
    """

    def epoch(self) -> int:
        """How many writers there were, this one included."""
        ...

    def snapshot(self) -> Snapshot | None:
        """The last snapshot that was adopted."""
        ...

    def batches(self, after: int) -> Iterator[Batch]:
        """The batches after that sequence, in order."""
        ...

    def append(self, batch: Batch, records: Sequence[Record]) -> None:
        """Keeps a batch and its records, whole or not at all. They are on the disk when this returns.

        Raises `Fenced` where a newer epoch was taken. A batch without changes is not kept: it asks whether this writer
        still is the writer.
        """
        ...

    def settling_only(self) -> bool:
        """Whether what is left of the disk is kept back for what ends holds: nothing new may be held.

        It becomes so within an `append`, which succeeds: from the next operation on the writer refuses what would grow.
        """
        ...

    def prune(self, kind: RecordKind, before_ms: int) -> bool:
        """Drops some of the oldest records of a kind, where they are of before `before_ms`; whether there may be more.

        In a transaction of its own that holds up an `append` for some milliseconds at most.
        """
        ...

    def adopt_snapshot(self, upto: int) -> None:
        """Makes the snapshot that was written for `upto` the last one. The batches it stands for go bit by bit."""
        ...

    def close(self) -> None:
        """Lets go of the journal."""
        ...


class Source(Protocol):
    """A place where a ledger's journal is kept."""

    address: str
    """A folder, or a `postgres://` URL without its password: enough for another process to open the same place."""

    def open(self) -> Journal:
        """Becomes the writer. Blocks. Raises `JournalError`."""
        ...

    def read(self) -> Reader:
        """Looks only. Blocks. Raises `JournalError`."""
        ...


class Store(Protocol):
    """What the writer uses of a journal, as coroutines. All raise `JournalError`."""

    async def open(self) -> int:
        """Becomes the one writer: takes a new epoch, and says which."""
        ...

    async def snapshot_upto(self) -> int | None:
        """The last batch that the last snapshot stands for; None: there is no snapshot."""
        ...

    def snapshot(self) -> AsyncIterator[bytes]:
        """The chunks of the last snapshot; none where there is none."""
        ...

    def batches(self, after: int) -> AsyncIterator[Batch]:
        """The batches after that sequence, in order."""
        ...

    async def append(self, batch: Batch, records: Sequence[Record]) -> None:
        """As `Journal.append`."""
        ...

    def settling_only(self) -> bool:
        """As `Journal.settling_only`, as of the last append."""
        ...

    def records(self, kind: RecordKind, path: str | None = None) -> AsyncIterator[Record]:
        """The records of a kind, of one account or of all, oldest first. Does not hold up `append`."""
        ...

    async def prune(self, kind: RecordKind, before_ms: int) -> bool:
        """As `Journal.prune`."""
        ...

    async def replace_snapshot(self, upto: int) -> None:
        """Has a snapshot of the tree after batch `upto` made off the writer's core, and drops what it stands for.

        Appends go on meanwhile.
        """
        ...

    async def close(self) -> None:
        """Lets go of the journal."""
        ...
