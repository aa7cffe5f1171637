"""The SQLite journal's tables, by version, and how a file of an older release becomes one of this."""

import sqlite3
from collections.abc import Callable, Iterable

from ambit.ledger.journal import UnknownSchema, version_1

VERSION = 2
_LEDGER = """
CREATE TABLE ledger (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  version INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  snapshot_upto INTEGER
) STRICT
"""
_BATCH = """
CREATE TABLE batch (sequence INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, changes BLOB NOT NULL) STRICT
"""
_RECORD = """
CREATE TABLE record (
  number INTEGER PRIMARY KEY,
  kind TEXT NOT NULL,
  path TEXT NOT NULL,
  at_ms INTEGER NOT NULL,
  body BLOB NOT NULL
) STRICT
"""
_RECORD_INDEX = "CREATE INDEX record_by_path ON record (kind, path, number)"


def version_of(connection: sqlite3.Connection) -> int | None:
    """The version of a file's tables; None: it has none. Raises UnknownSchema where they are none of ours."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if "ledger" in tables:
        (version,) = connection.execute("SELECT version FROM ledger").fetchone()
        return int(version)
    if {"epoch", "batch", "snapshot"} <= tables:
        return 1
    if tables:
        raise UnknownSchema("the file is a SQLite database, but none of a ledger: give the ledger a folder of its own")
    return None


def bring_up_to_date(connection: sqlite3.Connection, write_snapshot: Callable[[int, Iterable[bytes]], None]) -> None:
    """Makes the tables, or brings older ones to this version, in one transaction. Raises UnknownSchema.

    `write_snapshot` keeps the tree of version 1, which was a row, where snapshots are now.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = version_of(connection)
        if version is None:
            _create(connection)
        elif version == 1:
            _from_1(connection, write_snapshot)
        elif version > VERSION:
            raise UnknownSchema(
                f"the journal is of version {version}, and this release knows up to {VERSION}: run the release that "
                "wrote it, or a newer one"
            )
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _create(connection: sqlite3.Connection) -> None:
    for statement in (_LEDGER, _BATCH, _RECORD, _RECORD_INDEX):
        connection.execute(statement)
    connection.execute("INSERT INTO ledger VALUES (1, ?, 0, NULL)", (VERSION,))


def _from_1(connection: sqlite3.Connection, write_snapshot: Callable[[int, Iterable[bytes]], None]) -> None:
    """Version 1 had the epoch and the snapshot in tables of their own, and dropped batches with the snapshot."""
    (epoch,) = connection.execute("SELECT epoch FROM epoch").fetchone()
    image = connection.execute("SELECT tree FROM snapshot").fetchone()
    batches = connection.execute("SELECT sequence, changes FROM batch ORDER BY sequence").fetchall()
    upto = None
    if image is not None:
        first = connection.execute("SELECT seq + 1 FROM sqlite_sequence WHERE name = 'batch'").fetchone()
        upto = (batches[0][0] if batches else first[0]) - 1
        write_snapshot(upto, version_1.snapshot_chunks(bytes(image[0])))
    for table in ("epoch", "snapshot", "batch"):
        connection.execute(f"DROP TABLE {table}")
    _create(connection)
    connection.execute("UPDATE ledger SET epoch = ?, snapshot_upto = ?", (epoch, upto))
    connection.executemany(
        "INSERT INTO batch VALUES (?, ?, ?)",
        [(sequence, epoch, version_1.batch(changes)) for sequence, changes in batches],
    )
