"""Several partitions in one PostgreSQL, and the ledgers that share them.

A ledger tells the table `member` every half second that it lives; how long ago that was is PostgreSQL's own clock to
say, so that no two ledgers' clocks are ever compared.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from ambit.ledger.journal import Batch, postgres_schema
from ambit.ledger.journal.partitioned import Member, Sight
from ambit.ledger.journal.postgres import DEADLINE_S, PostgresReader, PostgresSource, Tables, as_int
from ambit.ledger.journal.postgres_connection import Connection, Servers
from ambit.ledger.journal.postgres_schema import schema_of
from ambit.ledger.journal.shared import Standing

_BEAT = """
INSERT INTO ambit_ledger.member VALUES ($1, $2, clock_timestamp(), $3)
ON CONFLICT (url) DO UPDATE SET serves = $2, beat_at = clock_timestamp(), unable = $3
"""
_LEAVE = "DELETE FROM ambit_ledger.member WHERE url = $1"
_FORGET = "DELETE FROM ambit_ledger.member WHERE beat_at < clock_timestamp() - interval '1 hour'"
_MEMBERS = """
SELECT url, serves, (extract(epoch FROM clock_timestamp() - beat_at) * 1000)::bigint, unable
FROM ambit_ledger.member
"""
_HAS_UNABLE = """
SELECT true FROM pg_attribute WHERE attrelid = 'ambit_ledger.member'::regclass AND attname = 'unable'
"""
_ADD_UNABLE = "ALTER TABLE ambit_ledger.member ADD COLUMN IF NOT EXISTS unable text NOT NULL DEFAULT ''"
"""Where a release made the table that did not know of it; that one's statements go on working."""
_STANDING = """
SELECT {number}::bigint, epoch, beat, held, coalesce((SELECT max(sequence) FROM {schema}.batch), 0) FROM {schema}.ledger
"""
_RECORDED = """
SELECT {number}::bigint WHERE EXISTS (SELECT FROM {schema}.record WHERE kind = 'Session' AND path = $1)
"""


class PostgresPartitions:
    """A `PartitionedSource` at a `postgres://` address, as `PostgresSource` takes it, of so many partitions."""

    def __init__(self, address: str, password_file: Path | None, partitions: int) -> None:
        self._address = address
        self._password_file = password_file
        self._partitions = partitions
        self._servers = Servers(address, password_file, DEADLINE_S)

    def lookout(self) -> "PostgresLookout":
        connection = self._servers.primary()
        try:
            postgres_schema.lay_out(connection, self._partitions)
            if not connection.ask(_HAS_UNABLE):
                connection.ask(_ADD_UNABLE)
            connection.ask(_FORGET)
        except BaseException:
            connection.close()
            raise
        return PostgresLookout(connection, self._partitions)

    def partition(self, number: int) -> PostgresSource:
        return PostgresSource(f"{self._address}#{number}", self._password_file, self._servers)


class PostgresLookout:
    """A `Lookout`. A statement that fails closes it."""

    def __init__(self, connection: Connection, partitions: int) -> None:
        self._connection = connection
        self._readers = [PostgresReader(Tables(connection, number)) for number in range(partitions)]
        each = (_STANDING.format(number=number, schema=schema_of(number)) for number in range(partitions))
        records = (_RECORDED.format(number=number, schema=schema_of(number)) for number in range(partitions))
        self._recorded = f"{' UNION ALL '.join(records)} LIMIT 1"
        self._standings = f"{' UNION ALL '.join(each)} ORDER BY 1"

    def beat(self, url: str, serves: bool, unable: Iterable[int] = ()) -> None:
        self._connection.ask(_BEAT, url, serves, ",".join(map(str, unable)))

    def leave(self, url: str) -> None:
        self._connection.ask(_LEAVE, url)

    def look(self) -> Sight:
        members = tuple(
            Member(str(url), as_int(age_ms), bool(serves), _numbers(str(unable)))
            for url, serves, age_ms, unable in self._connection.ask(_MEMBERS)
        )
        standings = tuple(
            Standing(as_int(epoch), as_int(beat), bool(held), as_int(last))
            for _, epoch, beat, held, last in self._connection.ask(self._standings)
        )
        return Sight(members, standings)

    def batches(self, partition: int, after: int) -> Iterator[Batch]:
        return self._readers[partition].batches(after)

    def recorded(self, session: str) -> int | None:
        rows = self._connection.ask(self._recorded, session)
        return as_int(rows[0][0]) if rows else None

    def close(self) -> None:
        self._connection.close()


def _numbers(listed: str) -> frozenset[int]:
    return frozenset(map(int, filter(None, listed.split(","))))


def journals_at(address: str, password_file: Path | None) -> list[PostgresSource]:
    """Every journal in the database: one for each partition, or the one. Raises JournalError."""
    connection = Servers(address, password_file, DEADLINE_S).primary()
    try:
        partitions = postgres_schema.partitions_of(connection) or 1
    finally:
        connection.close()
    if partitions == 1:
        return [PostgresSource(address, password_file)]
    return [PostgresSource(f"{address}#{number}", password_file) for number in range(partitions)]
