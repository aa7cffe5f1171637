"""What a store offers that several writers share, each with some of its partitions."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from ambit.ledger.journal import Batch
from ambit.ledger.journal.shared import SharedSource, Standing


@dataclass(frozen=True, slots=True)
class Member:
    """A ledger that has told the store of itself."""

    url: str
    """Where it is reached, and its name."""
    age_ms: int
    """How long ago it last did, by the store's own clock. Below zero: by the clock of a store before a failover."""
    serves: bool
    """Whether it has followed every partition, and may write some."""
    unable: frozenset[int] = frozenset()
    """The partitions that it leaves to others: it tried, and could not write them."""


@dataclass(frozen=True, slots=True)
class Sight:
    """The store at one moment."""

    members: tuple[Member, ...]
    standings: tuple[Standing, ...]
    """How the writer's place of each partition stands, in their order."""


class Lookout(Protocol):
    """One connection's look at all partitions. Every method blocks and raises `JournalError`."""

    def beat(self, url: str, serves: bool, unable: Iterable[int] = ()) -> None:
        """Says that this ledger is alive, and what it cannot write."""
        ...

    def leave(self, url: str) -> None:
        """Says that it no longer is."""
        ...

    def look(self) -> Sight:
        """Who is alive, and how the partitions stand."""
        ...

    def batches(self, partition: int, after: int) -> Iterable[Batch]:
        """As `Reader.batches`."""
        ...

    def recorded(self, session: str) -> int | None:
        """The partition that has a record of a session which has left its tree."""
        ...

    def close(self) -> None:
        """Lets go of the store."""
        ...


class PartitionedSource(Protocol):
    """A store of several partitions, each of which is a whole journal of its own."""

    def lookout(self) -> Lookout:
        """Makes the store where there is none yet, and looks at it. Blocks. Raises `JournalError`."""
        ...

    def partition(self, number: int) -> SharedSource:
        """One partition's journal."""
        ...
