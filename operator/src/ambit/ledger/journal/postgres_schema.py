"""The PostgreSQL journal's tables, by version, and how older ones become the present ones.

A database is made for a number of partitions, and keeps it: what a root Budget hashes to must never change. With one,
everything is in the schema `ambit_ledger`; with more, the first partition is there, with what they share, and each
other in `ambit_ledger_<partition>`. Their tables are the same, so that a partition is what a whole ledger is.

A standby looks at the version alone: it may be of a newer release than the writer, and of an older one than the next.
"""

from ambit.ledger.journal import UnknownSchema
from ambit.ledger.journal.postgres_connection import Asking, Connection, Value

VERSION = 2
"""The same numbers as the embedded journal's, also of what batches and snapshots say: it rises with each change of
meaning that the release before would not notice. There was no version 1 here."""
PARTITIONED = 1000
"""Added to the version by a database of several partitions: a release that knows nothing of them leaves it alone."""
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
  CREATE TABLE ambit_ledger.member (
    url text PRIMARY KEY, serves boolean NOT NULL, beat_at timestamptz NOT NULL, unable text NOT NULL DEFAULT ''
  ) WITH (fillfactor = 10);
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


UPGRADES: dict[int, str] = {}
"""By version, the statement that makes the tables of the next. What it leaves must still be read by this release's
statements before it was run, too: a standby of this release follows a writer of the one before."""


def schema_of(partition: int | None) -> str:
    """Where a partition's tables are; None: those of a journal that is not partitioned."""
    return f"ambit_ledger_{partition}" if partition else "ambit_ledger"


def make(connection: Connection, partition: int | None = None) -> None:
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
    if partition:
        ((version,),) = connection.ask(f"SELECT version FROM {schema_of(partition)}.ledger")
        _readable(version)


def partitions_of(connection: Connection) -> int | None:
    """For how many partitions the database was made; None: it has no tables yet. Raises UnknownSchema, JournalError."""
    if not connection.ask("SELECT true WHERE to_regclass('ambit_ledger.ledger') IS NOT NULL"):
        return None
    ((version,),) = connection.ask("SELECT version FROM ambit_ledger.ledger")
    _, partitioned = _readable(version)
    if not partitioned:
        return 1
    ((partitions,),) = connection.ask("SELECT partitions FROM ambit_ledger.layout")
    return int(partitions or 0)


def lay_out(connection: Connection, partitions: int) -> None:
    """Makes the tables for so many partitions where there are none, in one step.

    Raises UnknownSchema where there are some for another number.
    """
    if partitions_of(connection) is None:
        version = VERSION if partitions == 1 else VERSION + PARTITIONED
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


def upgrade(connection: Asking) -> None:
    """Brings the tables of an older release to this version: by the writer alone, within the transaction that makes it
    the writer, so that whoever wrote before is fenced by the same commit. Raises UnknownSchema, JournalError.
    """
    ((version,),) = connection.ask("SELECT version FROM ambit_ledger.ledger FOR UPDATE")
    found, partitioned = _readable(version)
    for older in range(found, VERSION):
        connection.ask(UPGRADES[older])
        connection.ask("UPDATE ambit_ledger.ledger SET version = $1", older + 1 + (PARTITIONED if partitioned else 0))


def _readable(version: Value) -> tuple[int, bool]:
    """A version that this release reads, and whether it is of several partitions. Raises UnknownSchema."""
    if isinstance(version, int):
        partitioned, number = divmod(version, PARTITIONED)
        if partitioned in (0, 1) and min(UPGRADES, default=VERSION) <= number <= VERSION:
            return number, bool(partitioned)
    raise UnknownSchema(
        f"the journal in PostgreSQL is of version {version}, and this release knows up to {VERSION}: run the release "
        "that wrote it, or a newer one"
    )
