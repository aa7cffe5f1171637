"""Which records go, by their age: a walk over all of them in the order of their making, a bite at a time."""

from collections.abc import Sequence
from typing import NamedTuple

from ambit.ledger.records import RecordKind

RECORDS_AT_ONCE = 256


class Row(NamedTuple):
    """What is to be known of a record. Numbers rise, and the ledger's time with them."""

    number: int
    kind: str
    at_ms: int


class Walk:
    """How far the records of each kind have been looked at, in the life of one writer."""

    def __init__(self) -> None:
        self._upto: dict[RecordKind, int] = {}

    def upto(self, kind: RecordKind) -> int:
        """The next bite are the `RECORDS_AT_ONCE` rows after this number."""
        return self._upto.get(kind, 0)

    def bite(self, kind: RecordKind, before_ms: int, rows: Sequence[Row]) -> tuple[list[int], bool]:
        """The numbers of those rows that go, and whether there may be more behind them. Goes on from there.

        The last row is left for the next bite: the newest record of all stays, so that no number comes a second time.
        """
        due: list[int] = []
        for row in rows[:-1]:
            if row.kind == kind:
                if row.at_ms >= before_ms:
                    return due, False
                due.append(row.number)
            self._upto[kind] = row.number
        return due, len(rows) == RECORDS_AT_ONCE
