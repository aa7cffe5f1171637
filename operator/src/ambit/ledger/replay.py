"""How a tree comes out of a store: the last snapshot, then the batches after it."""

from collections.abc import Generator, Iterable
from contextlib import contextmanager

import msgspec

from ambit.ledger import snapshot
from ambit.ledger.changes import Codec
from ambit.ledger.journal import Batch, Journal, Reader, UnknownSchema
from ambit.ledger.tree import Tree


class Replay:
    """A tree that follows a journal. Raises UnknownSchema where a newer release wrote what this one cannot read."""

    def __init__(self, upto: int = 0, chunks: Iterable[bytes] = ()) -> None:
        with _known(f"the snapshot of {upto}"):
            self.tree = Tree(snapshot.restore(chunks))
        self.sequence = upto
        """The last batch that is in the tree."""
        self.changes = 0
        """How many changes were taken up since the snapshot."""

    @classmethod
    def of(cls, tree: Tree, sequence: int, changes: int) -> "Replay":
        """A tree that somebody else has brought up to that batch."""
        replay = cls()
        replay.tree, replay.sequence, replay.changes = tree, sequence, changes
        return replay

    def take(self, batch: Batch) -> None:
        """Takes up the next batch, or nothing of it. Raises UnknownSchema."""
        with _known(f"batch {batch.sequence}"):
            changes = Codec.decode(batch.changes)
        self.tree.replay(changes)
        self.sequence = batch.sequence
        self.changes += len(changes)


def from_snapshot(reader: Reader | Journal) -> Replay:
    """The tree of the last snapshot, or an empty one. Raises JournalError."""
    last = reader.snapshot()
    return Replay() if last is None else Replay(last.upto, last.chunks)


def replayed(reader: Reader, upto: int) -> Replay:
    """The tree after batch `upto`. Raises JournalError."""
    replay = from_snapshot(reader)
    for batch in reader.batches(replay.sequence):
        if batch.sequence > upto:
            break
        replay.take(batch)
    return replay


@contextmanager
def _known(what: str) -> Generator[None]:
    try:
        yield
    except msgspec.MsgspecError as error:
        raise UnknownSchema(
            f"{what} says what this release does not know ({error}): run the release that wrote it, or a newer one"
        ) from error
