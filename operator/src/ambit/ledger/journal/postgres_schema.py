"""The PostgreSQL journal's tables, by version: one journal in a schema of its own, or one for each partition.

A database is made for a number of partitions, and keeps it: what a root Budget hashes to must never change. With one,
everything is in the schema `ambit_ledger`; with more, the first partition is there, with what they share, and each
other in `ambit_ledger_<partition>`. Their tables are the same, so that a partition is what a whole ledger is.
"""

from ambit.ledger.journal import UnknownSchema
from ambit.ledger.journal.postgres_connection import Connection

VERSION = 2
"""The same numbers as the embedded journal's. There was no version 1 here."""
PARTITIONED = 3
"""The version that a database of several partitions says: a release that knows nothing of them leaves it alone."""
_LOCK = 0x616D626974
"""Of the advisory lock that those who make the tables hold: `ambit`, in ASCII."""
# fillfactor: the one row is written with each commit, and stays on its page.
_JOURNAL = """
  CREATE SCHEMA IF NOT EXISTS {schema};
  CREATE TABLE {schema}.ledger (
    id integer PRIMARY KEY CHECK (id = 1),
    version bigint NOT NULL,
    epoch bigint NOT NULL,
    beat bigint NOT NULL,
    held boolean NOT NULL,
    snapshot_upto bigint
  ) WITH (fillfactor = 10);
  CREATE TABLE {schema}.batch (sequence bigint PRIMARY KEY, epoch bigint NOT NULL, changes bytea NOT NULL);
  ALTER TABLE {schema}.batch ALTER COLUMN changes SET STORAGE EXTERNAL;
  CREATE TABLE {schema}.record (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL,
    path text NOT NULL,
    at_ms bigint NOT NULL,
    body bytea NOT NULL
  );
  CREATE INDEX record_by_path ON {schema}.record (kind, path, number);
  CREATE TABLE {schema}.snapshot (
    upto bigint, number bigint, last boolean NOT NULL, chunk bytea NOT NULL, PRIMARY KEY (upto, number)
  );
  ALTER TABLE {schema}.snapshot ALTER COLUMN chunk SET STORAGE EXTERNAL;
  INSERT INTO {schema}.ledger VALUES (1, {version}, 0, 0, false, NULL);
"""
_SHARED = """
  CREATE TABLE ambit_ledger.layout (id integer PRIMARY KEY CHECK (id = 1), partitions bigint NOT NULL);
  INSERT INTO ambit_ledger.layout VALUES (1, {partitions});
  CREATE TABLE ambit_ledger.member (url text PRIMARY KEY, serves boolean NOT NULL, beat_at timestamptz NOT NULL)
    WITH (fillfactor = 10);
"""
_CREATE = f"""
DO $$
BEGIN
  PERFORM pg_advisory_xact_lock({_LOCK});
  IF to_regclass('ambit_ledger.ledger') IS NOT NULL THEN
    RETURN;
  END IF;
{{tables}}
END
$$
"""


def schema_of(partition: int | None) -> str:
    """Where a partition's tables are; None: those of a journal that is not partitioned."""
    return f"ambit_ledger_{partition}" if partition else "ambit_ledger"


def bring_up_to_date(connection: Connection, partition: int | None = None) -> None:
    """Checks the tables of a journal, and makes them where there are none and it is not partitioned.

    Raises UnknownSchema where a newer release made them, or for another number of partitions; and JournalError.
    """
    found = partitions_of(connection)
    if found is None and partition is None:
        lay_out(connection, 1)
        return
    if found is None:
        raise UnknownSchema("there is no ledger in this database yet, and so no partition: start a ledger over it")
    if partition is None and found > 1:
        raise UnknownSchema(
            f"this database was made for {found} partitions: set AMBIT_LEDGER_PARTITIONS={found}, or name a "
            "partition's own journal by #<partition> after the address"
        )
    if partition is not None and (found == 1 or partition >= found):
        raise UnknownSchema(f"there is no partition {partition} in this database: it was made for {found}")


def partitions_of(connection: Connection) -> int | None:
    """For how many partitions the database was made; None: it has no tables yet. Raises UnknownSchema, JournalError."""
    if not connection.ask("SELECT true WHERE to_regclass('ambit_ledger.ledger') IS NOT NULL"):
        return None
    ((version,),) = connection.ask("SELECT version FROM ambit_ledger.ledger")
    if version == VERSION:
        return 1
    if version != PARTITIONED:
        raise UnknownSchema(
            f"the journal in PostgreSQL is of version {version}, and this release knows versions {VERSION} and "
            f"{PARTITIONED}: run the release that wrote it, or a newer one"
        )
    ((partitions,),) = connection.ask("SELECT partitions FROM ambit_ledger.layout")
    return int(partitions or 0)


def lay_out(connection: Connection, partitions: int) -> None:
    """Makes the tables for so many partitions where there are none, in one step.

    Raises UnknownSchema where there are some for another number.
    """
    if partitions_of(connection) is None:
        version = VERSION if partitions == 1 else PARTITIONED
        tables = [_JOURNAL.format(schema=schema_of(each), version=version) for each in range(partitions)]
        if partitions > 1:
            tables.append(_SHARED.format(partitions=partitions))
        connection.ask(_CREATE.format(tables="".join(tables)))
    found = partitions_of(connection)
    if found != partitions:
        raise UnknownSchema(
            f"this database was made for {found} partitions, and AMBIT_LEDGER_PARTITIONS says {partitions}: the number "
            "is chosen when the database is made, and does not change"
        )
