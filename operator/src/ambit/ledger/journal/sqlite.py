"""The embedded journal: one SQLite file, in WAL mode with full sync. A batch is a row, a commit is a sync.

A batch that was cut short by a crash fails its checksum in the WAL and is dropped whole by SQLite itself.
"""

import sqlite3
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from ambit.ledger.journal import JournalError

FILE = "ledger.sqlite"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS epoch (id INTEGER PRIMARY KEY CHECK (id = 1), epoch INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS batch (sequence INTEGER PRIMARY KEY AUTOINCREMENT, changes BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS snapshot (id INTEGER PRIMARY KEY CHECK (id = 1), tree BLOB NOT NULL);
"""
StepHook = Callable[[str], None]
"""Told of each step of a write before it is taken; tests end the process there."""


def _no_hook(_: str) -> None:
    return


class SqliteJournal:
    """A `Journal` in `folder`. Opening it takes a new epoch, and fails while another process has it open.

    `wait_for_writer_s`: how long it waits for such a process to end.
    """

    def __init__(self, folder: Path, before: StepHook = _no_hook, wait_for_writer_s: float = 5.0) -> None:
        self._before = before
        with _errors():
            # Autocommit: transactions are begun and ended here, not by the driver.
            self._connection = sqlite3.connect(
                folder / FILE, isolation_level=None, check_same_thread=False, timeout=wait_for_writer_s
            )
        try:
            self._epoch = self._take_over()
        except BaseException:
            self._connection.close()
            raise

    def _take_over(self) -> int:
        with _errors():
            # Exclusive: one writer, by the operating system's lock, which ends with the process that holds it.
            for pragma in ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=FULL"):
                self._connection.execute(f"PRAGMA {pragma}")
            self._connection.executescript(_SCHEMA)
            self._connection.execute("INSERT INTO epoch VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET epoch = epoch + 1")
            (epoch,) = self._connection.execute("SELECT epoch FROM epoch").fetchone()
            return int(epoch)

    def durability(self) -> tuple[str, int]:
        """SQLite's own word for how it keeps what is committed: journal mode, and level of `synchronous`."""
        with _errors():
            (mode,) = self._connection.execute("PRAGMA journal_mode").fetchone()
            (level,) = self._connection.execute("PRAGMA synchronous").fetchone()
        return mode, level

    def epoch(self) -> int:
        return self._epoch

    def snapshot(self) -> bytes | None:
        with _errors():
            row = self._connection.execute("SELECT tree FROM snapshot").fetchone()
        return None if row is None else bytes(row[0])

    def batches(self) -> Iterator[bytes]:
        with _errors():
            for (batch,) in self._connection.execute("SELECT changes FROM batch ORDER BY sequence"):
                yield bytes(batch)

    def append(self, batch: bytes) -> None:
        with self._transaction("append"):
            self._connection.execute("INSERT INTO batch (changes) VALUES (?)", (batch,))

    def compact(self, snapshot: bytes) -> None:
        with self._transaction("compact"):
            self._connection.execute(
                "INSERT INTO snapshot VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET tree = excluded.tree",
                (snapshot,),
            )
            self._before("compact: drop batches")
            self._connection.execute("DELETE FROM batch")
        with _errors():
            self._before("compact: checkpoint")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        with _errors():
            self._connection.close()

    @contextmanager
    def _transaction(self, name: str) -> Generator[None]:
        with _errors():
            self._before(f"{name}: begin")
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            self._before(f"{name}: commit")
            self._connection.execute("COMMIT")
            self._before(f"{name}: return")


@contextmanager
def _errors() -> Generator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise JournalError(f"the journal failed: {error} (is the disk full, or another ledger running?)") from error
