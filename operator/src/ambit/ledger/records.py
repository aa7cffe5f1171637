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


_DAY_MS = 24 * 3600 * 1000
KEPT_MS = {RecordKind.SESSION: 30 * _DAY_MS, RecordKind.WINDOW: 400 * _DAY_MS}
"""How long records are kept. Those of the audit are kept for good: their chain is whole or it proves nothing."""


class Record(msgspec.Struct, frozen=True, array_like=True):
    """One fact about the account at `path`, as of `at_ms` by the ledger's clock. `body` is its kind's own."""

    kind: RecordKind
    at_ms: int
    path: str
    body: bytes
