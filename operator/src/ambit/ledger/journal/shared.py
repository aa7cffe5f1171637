"""What a store offers where several ledgers share it: one writes, the others stand by."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ambit.ledger.journal import Journal, Reader


@dataclass(frozen=True, slots=True)
class Standing:
    """How the writer's place stands. Two that are equal, seen some time apart, mean a writer that did nothing."""

    epoch: int
    beat: int
    held: bool
    """False: the writer has left it, and nobody has to wait."""
    last: int
    """The last batch that was committed; 0: there is none since the last snapshot, or at all."""


class SharedReader(Reader, Protocol):
    """A `Reader` that sees the writer, too."""

    def standing(self) -> Standing:
        """How the writer's place stands. Raises `JournalError`."""
        ...


@runtime_checkable
class SharedSource(Protocol):
    """A `Source` of a store that several ledgers share."""

    address: str
    expected: Standing | None
    """`open` becomes the writer only where nothing has changed since this was seen. None: in any case."""

    def open(self) -> Journal:
        """As `Source.open`. Raises `Fenced` where another was first."""
        ...

    def read(self) -> SharedReader:
        """As `Source.read`."""
        ...

    def clock_ms(self) -> int:
        """The store's own clock, since the epoch. Blocks. Raises `JournalError`."""
        ...
