"""The journal in PostgreSQL: for several ledgers, of which one writes and the others stand by.

Each commit is one statement, fenced by the epoch in the row that it locks: whoever took a newer epoch has locked the
row before, so that a commit of an older writer fails, however late it comes. That row counts the writer's beats, which
is how others see that it lives, without comparing clocks.
"""

import base64
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from ambit.ledger.journal import (
    Batch,
    BatchesGone,
    Fenced,
    JournalError,
    Snapshot,
    postgres_durability,
    postgres_schema,
)
from ambit.ledger.journal.age_walk import RECORDS_AT_ONCE, Row, Walk
from ambit.ledger.journal.postgres_connection import Connection, Servers, Value
from ambit.ledger.journal.postgres_schema import schema_of
from ambit.ledger.journal.shared import Standing
from ambit.ledger.records import Record, RecordKind

DEADLINE_S = 5.0
"""How long a statement may take. A commit that takes longer is of unknown outcome."""
ROWS_AT_ONCE = 256
BATCHES_DROPPED_AT_ONCE = 16
"""How many batches that a snapshot stands for go with each commit: many at once would hold up the commits after."""

_TAKE = """
UPDATE ambit_ledger.ledger SET epoch = epoch + 1, beat = beat + 1, held = true
WHERE ($1 < 0 OR (epoch = $1 AND beat = $2)) RETURNING epoch, snapshot_upto
"""
_STANDING = """
SELECT epoch, beat, held, coalesce((SELECT max(sequence) FROM ambit_ledger.batch), 0) FROM ambit_ledger.ledger
"""
_BEAT = "UPDATE ambit_ledger.ledger SET beat = beat + 1 WHERE epoch = $1 RETURNING epoch"
_APPEND = """
WITH writer AS (UPDATE ambit_ledger.ledger SET beat = beat + 1 WHERE epoch = $1 RETURNING epoch),
kept AS (INSERT INTO ambit_ledger.batch SELECT $2, epoch, $3 FROM writer),
dropped AS (DELETE FROM ambit_ledger.batch USING writer WHERE sequence <= $4)
SELECT epoch FROM writer
"""
_APPEND_WITH_RECORDS = """
WITH writer AS (UPDATE ambit_ledger.ledger SET beat = beat + 1 WHERE epoch = $1 RETURNING epoch),
kept AS (INSERT INTO ambit_ledger.batch SELECT $2, writer.epoch, $3 FROM writer WHERE $3 <> ''::bytea),
dropped AS (DELETE FROM ambit_ledger.batch USING writer WHERE sequence <= $4),
recorded AS (
  INSERT INTO ambit_ledger.record (kind, path, at_ms, body)
  SELECT kind, path, at_ms, decode(body, 'base64')
  FROM writer, ROWS FROM (
    json_to_recordset($5::json) AS (kind text, path text, at_ms bigint, body text)
  ) WITH ORDINALITY AS given (kind, path, at_ms, body, number) ORDER BY given.number
)
SELECT epoch FROM writer
"""
_OLDEST_RECORDS = "SELECT number, kind, at_ms FROM ambit_ledger.record WHERE number > $1 ORDER BY number LIMIT $2"
_PRUNE = """
WITH writer AS (UPDATE ambit_ledger.ledger SET beat = beat + 1 WHERE epoch = $1 RETURNING epoch),
pruned AS (
  DELETE FROM ambit_ledger.record USING writer
  WHERE number IN (SELECT value::bigint FROM json_array_elements_text($2::json))
)
SELECT epoch FROM writer
"""
_DROP_SNAPSHOTS = """
DELETE FROM ambit_ledger.snapshot WHERE upto <> (SELECT coalesce(snapshot_upto, 0) FROM ambit_ledger.ledger)
"""
_ADOPT = """
UPDATE ambit_ledger.ledger SET snapshot_upto = $2, beat = beat + 1
WHERE epoch = $1 AND coalesce(snapshot_upto, 0) < $2
  AND EXISTS (SELECT FROM ambit_ledger.snapshot WHERE upto = $2 AND last)
RETURNING epoch
"""


class PostgresSource:
    """A journal at a `postgres://` address without its password, which is in `password_file`.

    The address may name several servers (`host1,host2`): the primary among them is used. `#<partition>` after it means
    the journal of one partition, where the database has several.
    """

    def __init__(self, address: str, password_file: Path | None = None, servers: Servers | None = None) -> None:
        """`servers`: those of the address, where others use them too and all are to know of one primary."""
        self.address = address
        server, self._partition = split_address(address)
        self._servers = Servers(server, password_file, DEADLINE_S) if servers is None else servers
        self.expected: Standing | None = None
        """`open` becomes the writer only where nothing has changed since this was seen. None: in any case."""

    def open(self) -> "PostgresJournal":
        return PostgresJournal(self._checked(), self.expected)

    def read(self) -> "PostgresReader":
        return PostgresReader(self._checked())

    def clock_ms(self) -> int:
        connection = self._servers.primary()
        try:
            ((now_ms,),) = connection.ask("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
        finally:
            connection.close()
        return as_int(now_ms)

    def _checked(self) -> "Tables":
        connection = self._servers.primary()
        try:
            postgres_schema.make(connection, self._partition)
        except BaseException:
            connection.close()
            raise
        return Tables(connection, self._partition)


class Tables:
    """A connection to where one partition's tables are; None: a journal that is not partitioned."""

    def __init__(self, connection: Connection, partition: int | None) -> None:
        self._connection = connection
        self._prefix = f"{schema_of(partition)}."
        self.is_open = connection.is_open
        self.close = connection.close

    def ask(self, statement: str, *values: Value) -> list[tuple[Value, ...]]:
        """As `Connection.ask`, of this partition's tables."""
        return self._connection.ask(statement.replace("ambit_ledger.", self._prefix), *values)


class PostgresReader:
    """A `Reader` of the journal. A statement that fails closes it."""

    def __init__(self, connection: Tables) -> None:
        self._connection = connection

    def standing(self) -> Standing:
        """How the writer's place stands. Raises JournalError."""
        ((epoch, beat, held, last),) = self._connection.ask(_STANDING)
        return Standing(as_int(epoch), as_int(beat), bool(held), as_int(last))

    def snapshot(self) -> Snapshot | None:
        ((upto,),) = self._connection.ask("SELECT snapshot_upto FROM ambit_ledger.ledger")
        return None if upto is None else Snapshot(as_int(upto), self._chunks(as_int(upto)))

    def _chunks(self, upto: int) -> Iterator[bytes]:
        select = "SELECT chunk, last FROM ambit_ledger.snapshot WHERE upto = $1 AND number = $2"
        number, last = 0, False
        while not last:
            rows = self._connection.ask(select, upto, number)
            if not rows:
                raise JournalError(f"the snapshot of {upto} has no chunk {number}: another took its place meanwhile")
            ((chunk, is_last),) = rows
            number, last = number + 1, bool(is_last)
            yield as_bytes(chunk)

    def batches(self, after: int) -> Iterator[Batch]:
        select = "SELECT sequence, changes FROM ambit_ledger.batch WHERE sequence > $1 ORDER BY sequence LIMIT $2"
        while True:
            rows = self._connection.ask(select, after, ROWS_AT_ONCE)
            for sequence, changes in rows:
                if sequence != after + 1:
                    raise BatchesGone(after + 1, as_int(sequence))
                after = as_int(sequence)
                yield Batch(after, as_bytes(changes))
            if len(rows) < ROWS_AT_ONCE:
                return

    def records(self, kind: RecordKind, path: str | None = None) -> Iterator[Record]:
        select = (
            "SELECT number, at_ms, path, body FROM ambit_ledger.record"
            " WHERE kind = $1 AND ($2::text IS NULL OR path = $2) AND number > $3 ORDER BY number LIMIT $4"
        )
        after = 0
        while True:
            rows = self._connection.ask(select, kind.value, path, after, ROWS_AT_ONCE)
            for number, at_ms, of, body in rows:
                after = as_int(number)
                yield Record(kind, as_int(at_ms), str(of), as_bytes(body))
            if len(rows) < ROWS_AT_ONCE:
                return

    def pin(self) -> None:
        self._connection.ask("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        self.standing()  # the first look is what it stays at

    def write_snapshot(self, upto: int, chunks: Iterable[bytes]) -> None:
        ask = self._connection.ask
        ask(_DROP_SNAPSHOTS)
        number = -1
        insert = "INSERT INTO ambit_ledger.snapshot VALUES ($1, $2, false, $3)"
        for number, chunk in enumerate(chunks):
            ask(insert, upto, number, chunk)
        # The last word: until it is there, the snapshot is not whole and cannot be adopted.
        ask("UPDATE ambit_ledger.snapshot SET last = true WHERE upto = $1 AND number = $2", upto, number)

    def close(self) -> None:
        self._connection.close()


class PostgresJournal:
    """A `Journal`: the writer's place in PostgreSQL, from its taking on. After any error it has to be taken anew."""

    def __init__(self, connection: Tables, expected: Standing | None) -> None:
        self._reader = PostgresReader(connection)
        self._connection = connection
        self._walk = Walk()
        try:
            postgres_durability.check(connection)
            epoch, beat = (-1, 0) if expected is None else (expected.epoch, expected.beat)
            connection.ask("BEGIN")
            rows = connection.ask(_TAKE, epoch, beat)
            if not rows:
                raise Fenced("another ledger became the writer first")
            postgres_schema.upgrade(connection)
            connection.ask("COMMIT")
            ((epoch, upto),) = rows
            ((oldest,),) = connection.ask("SELECT min(sequence) FROM ambit_ledger.batch")
        except BaseException:
            connection.close()
            raise
        self._epoch = as_int(epoch)
        self._upto = None if upto is None else as_int(upto)
        self._oldest = 1 if oldest is None else as_int(oldest)

    def epoch(self) -> int:
        return self._epoch

    def snapshot(self) -> Snapshot | None:
        return self._reader.snapshot()

    def batches(self, after: int) -> Iterator[Batch]:
        return self._reader.batches(after)

    def append(self, batch: Batch, records: Sequence[Record]) -> None:
        if not batch.changes and not records:
            self._fenced(self._connection.ask(_BEAT, self._epoch))
            return
        drop_upto = -1 if self._upto is None else min(self._oldest + BATCHES_DROPPED_AT_ONCE - 1, self._upto)
        values: list[Value] = [self._epoch, batch.sequence, batch.changes, drop_upto]
        if records:
            self._fenced(self._connection.ask(_APPEND_WITH_RECORDS, *values, _as_json(records)))
        else:
            self._fenced(self._connection.ask(_APPEND, *values))
        self._oldest = max(self._oldest, drop_upto + 1)

    def settling_only(self) -> bool:
        return False  # the disk is PostgreSQL's: where it is full, every commit fails, and nothing is forgotten

    def prune(self, kind: RecordKind, before_ms: int) -> bool:
        found = self._connection.ask(_OLDEST_RECORDS, self._walk.upto(kind), RECORDS_AT_ONCE)
        rows = [Row(as_int(number), str(of), as_int(at_ms)) for number, of, at_ms in found]
        due, more = self._walk.bite(kind, before_ms, rows)
        if due:
            self._fenced(self._connection.ask(_PRUNE, self._epoch, msgspec.json.encode(due).decode()))
        return more

    def adopt_snapshot(self, upto: int) -> None:
        if not self._connection.ask(_ADOPT, self._epoch, upto):
            self._fenced(self._connection.ask(_BEAT, self._epoch))
            raise JournalError(f"the snapshot of {upto} is not whole, or no newer than that of {self._upto}")
        self._upto = upto

    def close(self) -> None:
        if self._connection.is_open():  # so that nobody has to wait for the place
            self._connection.ask("UPDATE ambit_ledger.ledger SET held = false WHERE epoch = $1", self._epoch)
        self._connection.close()

    def _fenced(self, rows: list[tuple[Value, ...]]) -> None:
        if not rows:
            raise Fenced(f"this writer's epoch is {self._epoch}, and another has taken a newer one")


def split_address(address: str) -> tuple[str, int | None]:
    """An address and the partition that it names, if it does. Raises JournalError."""
    server, mark, partition = address.partition("#")
    if mark and not partition.isdecimal():
        raise JournalError(f"{partition!r} is no partition: write its number after the #")
    return server, int(partition) if mark else None


def _as_json(records: Sequence[Record]) -> str:
    given = [
        {"kind": each.kind.value, "path": each.path, "at_ms": each.at_ms, "body": base64.b64encode(each.body).decode()}
        for each in records
    ]
    return msgspec.json.encode(given).decode()


def as_int(value: Value) -> int:
    if not isinstance(value, int):
        raise JournalError(f"{value!r} stands where PostgreSQL should have a number")
    return value


def as_bytes(value: Value) -> bytes:
    if not isinstance(value, bytes):
        raise JournalError(f"{value!r} stands where PostgreSQL should have bytes")
    return value
