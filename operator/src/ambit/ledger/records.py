"""Facts that the tree does not need, kept in the same commit as the changes that they speak of."""

from enum import StrEnum

import msgspec


class RecordKind(StrEnum):
    """What a record is about."""

    AUDIT = "Audit"
    """A kill, an overrun, a loss, a changed limit, a top-up, an approval: hash-chained."""
    WINDOW = "Window"
    """What an account spent in a window that ended."""
    SESSION = "Session"
    """The final usage of a session."""


class Record(msgspec.Struct, frozen=True, array_like=True):
    """One fact about the account at `path`, as of `at_ms` by the ledger's clock. `body` is its kind's own."""

    kind: RecordKind
    at_ms: int
    path: str
    body: bytes
