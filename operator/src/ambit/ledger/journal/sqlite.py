"""The embedded journal: one SQLite file in WAL mode with full sync, and snapshots as files beside it.

A batch is a row, a commit is a sync. A batch that was cut short by a crash fails its checksum in the WAL and is dropped
whole by SQLite itself. One writer at a time, by a lock of the operating system; each commit checks the epoch besides.
"""

import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ambit.ledger.journal import Batch, BatchesGone, Fenced, JournalError, Snapshot, snapshot_files, sqlite_schema
from ambit.ledger.journal.age_walk import RECORDS_AT_ONCE, Row, Walk
from ambit.ledger.journal.reserved import SETTLEMENT_SPACE_BYTES, SettlementSpace
from ambit.ledger.records import Record, RecordKind

FILE = "ledger.sqlite"
LOCK = "writer.lock"
ROWS_AT_ONCE = 256
"""How many rows a reader takes before it lets go of the database again, so that the log can be taken in."""
BATCHES_DROPPED_AT_ONCE = 16
"""How many batches that a snapshot stands for go with each commit: many at once would hold up the commits after."""
_LOCK_POLL_S = 0.05
StepHook = Callable[[str], None]
"""Told of each step of a write before it is taken; tests end the process there."""


def _no_hook(_: str) -> None:
    return


class SqliteSource:
    """A journal in `folder`. The arguments are those of `SqliteJournal`."""

    def __init__(
        self,
        folder: Path,
        before: StepHook = _no_hook,
        wait_for_writer_s: float = 5.0,
        settlement_space_bytes: int = SETTLEMENT_SPACE_BYTES,
    ) -> None:
        self.address = str(folder)
        self._folder = folder
        self._before = before
        self._wait_for_writer_s = wait_for_writer_s
        self._settlement_space_bytes = settlement_space_bytes

    def open(self) -> "SqliteJournal":
        self._folder.mkdir(parents=True, exist_ok=True)
        return SqliteJournal(self._folder, self._before, self._wait_for_writer_s, self._settlement_space_bytes)

    def read(self) -> "SqliteReader":
        return SqliteReader(self._folder)


class SqliteReader:
    """A `Reader` of the journal in `folder`. It writes nothing but snapshots, and never holds up the writer."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        if not (folder / FILE).exists():
            raise JournalError(f"there is no journal in {folder}")
        with _errors():
            self._connection = _connect(folder, 5.0)

    def snapshot(self) -> Snapshot | None:
        with _errors():
            (upto,) = self._connection.execute("SELECT snapshot_upto FROM ledger").fetchone()
        return None if upto is None else Snapshot(upto, snapshot_files.read(self._folder, upto))

    def batches(self, after: int) -> Iterator[Batch]:
        select = "SELECT sequence, changes FROM batch WHERE sequence > ? ORDER BY sequence LIMIT ?"
        while True:
            with _errors():
                rows = self._connection.execute(select, (after, ROWS_AT_ONCE)).fetchall()
            for sequence, changes in rows:
                if sequence != after + 1:
                    raise BatchesGone(after + 1, sequence)
                after = sequence
                yield Batch(sequence, changes)
            if len(rows) < ROWS_AT_ONCE:
                return

    def records(self, kind: RecordKind, path: str | None = None) -> Iterator[Record]:
        of_path = "" if path is None else "AND path = :path"
        select = f"SELECT number, at_ms, path, body FROM record WHERE kind = :kind {of_path} AND number > :after"
        after = 0
        while True:
            with _errors():
                asked = {"kind": kind.value, "path": path, "after": after, "limit": ROWS_AT_ONCE}
                rows = self._connection.execute(f"{select} ORDER BY number LIMIT :limit", asked).fetchall()
            for number, at_ms, of, body in rows:
                after = number
                yield Record(kind, at_ms, of, body)
            if len(rows) < ROWS_AT_ONCE:
                return

    def pin(self) -> None:
        with _errors():
            self._connection.execute("BEGIN")
            self._connection.execute("SELECT epoch FROM ledger").fetchone()  # the first look is what it stays at

    def write_snapshot(self, upto: int, chunks: Iterable[bytes]) -> None:
        snapshot_files.write(self._folder, upto, chunks)

    def close(self) -> None:
        with _errors():
            self._connection.close()


class SqliteJournal:
    """A `Journal` in `folder`. Opening it takes a new epoch, and fails while another process has it open.

    `wait_for_writer_s`: how long it waits for such a process to end. `settlement_space_bytes`: how much of the disk is
    kept back for what ends holds.
    """

    def __init__(
        self,
        folder: Path,
        before: StepHook = _no_hook,
        wait_for_writer_s: float = 5.0,
        settlement_space_bytes: int = SETTLEMENT_SPACE_BYTES,
    ) -> None:
        self._folder = folder
        self._before = before
        self._walk = Walk()
        self._lock = _lock(folder, wait_for_writer_s)
        try:
            with _errors():
                self._connection = _connect(folder, wait_for_writer_s)
            self._epoch = self._take_over()
            self._reader = SqliteReader(folder)
            self._space = SettlementSpace(folder, settlement_space_bytes)
        except BaseException:
            if hasattr(self, "_connection"):
                self._connection.close()
            os.close(self._lock)
            raise

    def _take_over(self) -> int:
        with _errors():
            sqlite_schema.bring_up_to_date(
                self._connection, lambda upto, chunks: snapshot_files.write(self._folder, upto, chunks)
            )
            self._connection.execute("UPDATE ledger SET epoch = epoch + 1")
            (epoch, self._upto) = self._connection.execute("SELECT epoch, snapshot_upto FROM ledger").fetchone()
            (oldest,) = self._connection.execute("SELECT min(sequence) FROM batch").fetchone()
        self._oldest: int = 1 if oldest is None else oldest
        snapshot_files.drop_all_but(self._folder, self._upto)
        return int(epoch)

    def durability(self) -> tuple[str, int]:
        """SQLite's own word for how it keeps what is committed: journal mode, and level of `synchronous`."""
        with _errors():
            (mode,) = self._connection.execute("PRAGMA journal_mode").fetchone()
            (level,) = self._connection.execute("PRAGMA synchronous").fetchone()
        return mode, level

    def epoch(self) -> int:
        return self._epoch

    def snapshot(self) -> Snapshot | None:
        return self._reader.snapshot()

    def batches(self, after: int) -> Iterator[Batch]:
        return self._reader.batches(after)

    def append(self, batch: Batch, records: Sequence[Record]) -> None:
        self._space.take_back()
        with _errors():
            try:
                self._append(batch, records)
            except sqlite3.OperationalError as error:
                # A full disk is the one failure whose outcome is known: SQLite has taken back all of the transaction.
                if error.sqlite_errorcode != sqlite3.SQLITE_FULL or not self._space.spend():
                    raise
                self._append(batch, records)

    def _append(self, batch: Batch, records: Sequence[Record]) -> None:
        if not batch.changes and not records:
            self._ask_for_the_epoch()
            return
        with self._transaction("append"):
            self._ask_for_the_epoch()
            if batch.changes:
                row = (batch.sequence, self._epoch, batch.changes)
                self._connection.execute("INSERT INTO batch VALUES (?, ?, ?)", row)
            self._connection.executemany(
                "INSERT INTO record (kind, path, at_ms, body) VALUES (?, ?, ?, ?)",
                [(record.kind.value, record.path, record.at_ms, record.body) for record in records],
            )
            self._drop_some_batches()

    def _ask_for_the_epoch(self) -> None:
        (epoch,) = self._connection.execute("SELECT epoch FROM ledger").fetchone()
        if epoch != self._epoch:
            raise Fenced(f"this writer's epoch is {self._epoch}, and the journal's is {epoch}")

    def _drop_some_batches(self) -> None:
        if self._upto is None or self._oldest > self._upto:
            return
        last = min(self._oldest + BATCHES_DROPPED_AT_ONCE - 1, self._upto)
        self._connection.execute("DELETE FROM batch WHERE sequence <= ?", (last,))
        self._oldest = last + 1

    def settling_only(self) -> bool:
        return self._space.spent

    def prune(self, kind: RecordKind, before_ms: int) -> bool:
        select = "SELECT number, kind, at_ms FROM record WHERE number > ? ORDER BY number LIMIT ?"
        with _errors():
            found = self._connection.execute(select, (self._walk.upto(kind), RECORDS_AT_ONCE)).fetchall()
            due, more = self._walk.bite(kind, before_ms, [Row(*row) for row in found])
            if due:
                with self._transaction("prune"):
                    self._ask_for_the_epoch()
                    self._connection.executemany("DELETE FROM record WHERE number = ?", [(each,) for each in due])
        return more

    def adopt_snapshot(self, upto: int) -> None:
        if self._upto is not None and upto <= self._upto:
            raise JournalError(f"the snapshot of {upto} is no newer than that of {self._upto}")
        if not snapshot_files.is_whole(self._folder, upto):
            raise JournalError(f"there is no whole snapshot of {upto}")
        with _errors(), self._transaction("adopt"):
            self._ask_for_the_epoch()
            self._connection.execute("UPDATE ledger SET snapshot_upto = ?", (upto,))
        self._upto = upto
        self._before("adopt: drop snapshots")
        snapshot_files.drop_all_but(self._folder, upto)

    def close(self) -> None:
        with _errors():
            self._reader.close()
            self._connection.close()
        os.close(self._lock)

    @contextmanager
    def _transaction(self, name: str) -> Generator[None]:
        self._before(f"{name}: begin")
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._before(f"{name}: commit")
            self._connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # where SQLite has rolled back by itself there is nothing to roll back
                self._connection.execute("ROLLBACK")
            raise
        self._before(f"{name}: return")


def _connect(folder: Path, timeout_s: float) -> sqlite3.Connection:
    # Autocommit: transactions are begun and ended here, not by the driver.
    connection = sqlite3.connect(folder / FILE, isolation_level=None, check_same_thread=False, timeout=timeout_s)
    for pragma in ("journal_mode=WAL", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _lock(folder: Path, wait_s: float) -> int:
    """Takes the writer's lock, which ends with the process that holds it. Raises JournalError."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise JournalError(f"the journal's folder cannot be used: {error}") from error
    until_s = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= until_s:
                os.close(descriptor)
                raise JournalError(f"the journal in {folder} has a writer: is another ledger running?") from error
            time.sleep(_LOCK_POLL_S)
        else:
            return descriptor


@contextmanager
def _errors() -> Generator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise JournalError(f"the journal failed: {error} (is the disk full?)") from error
