"""Backups of ledgers of any number of partitions: of several, one after the other, as each would be alone.

No transaction spans partitions, so that each is consistent with itself, and that is all there is.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final

from ambit.ledger import backup
from ambit.ledger.backup import BackupUnusable, Contents, Stream
from ambit.ledger.journal import Source
from ambit.ledger.journal.sources import POSTGRES, source_of, sources_of
from ambit.ledger.settings import MAX_PARTITIONS

_SEVERAL: Final = b"ambit ledger backup 2\n"
_COUNT_BYTES: Final = 4


class _Peeked:
    """A stream of which the beginning was looked at."""

    def __init__(self, beginning: bytes, rest: Stream) -> None:
        self._beginning = beginning
        self._rest = rest

    def read(self, size: int, /) -> bytes:
        taken, self._beginning = self._beginning[:size], self._beginning[size:]
        return taken + (self._rest.read(size - len(taken)) if len(taken) < size else b"")


def write(sources: Sequence[Source], out: BinaryIO) -> Contents:
    """Writes a backup of every journal, while their writers go on. Raises JournalError."""
    if len(sources) > 1:
        out.write(_SEVERAL + len(sources).to_bytes(_COUNT_BYTES, "big"))
    return _together([backup.write(source, out) for source in sources])


def restore(address: str, password_file: Path | None, stream: Stream) -> Contents:
    """Makes the journals of a backup, where there are none yet. Raises BackupUnusable, JournalError."""
    beginning = stream.read(len(_SEVERAL))
    if beginning != _SEVERAL:
        return backup.restore(source_of(address, password_file), _Peeked(beginning, stream))
    partitions = int.from_bytes(stream.read(_COUNT_BYTES), "big")
    if not 1 < partitions <= MAX_PARTITIONS:
        raise BackupUnusable("the backup is damaged, or cut off")
    if not address.startswith(POSTGRES):
        raise BackupUnusable(f"the backup is of {partitions} partitions: restore it into PostgreSQL")
    from ambit.ledger.journal.postgres_partitions import PostgresPartitions  # it loads libpq

    PostgresPartitions(address, password_file, partitions).lookout().close()
    sources = sources_of(address, password_file)
    for source in sources:
        _check_empty(source)
    return _together([backup.restore(source, stream) for source in sources])


def _check_empty(source: Source) -> None:
    reader = source.read()
    try:
        if reader.snapshot() is not None or next(iter(reader.batches(0)), None) is not None:
            raise BackupUnusable("there is a journal already: restore into an empty folder or database")
    finally:
        reader.close()


def _together(each: Sequence[Contents]) -> Contents:
    return Contents(
        last=max(contents.last for contents in each),
        accounts=sum(contents.accounts for contents in each),
        records=sum(contents.records for contents in each),
    )
