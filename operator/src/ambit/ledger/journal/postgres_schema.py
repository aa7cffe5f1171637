"""The PostgreSQL journal's tables, by version, in a schema of their own, and how an older one becomes the present one.

A standby looks at the version alone: it may be of a newer release than the writer, and of an older one than the next.
"""

from ambit.ledger.journal import UnknownSchema
from ambit.ledger.journal.postgres_connection import Connection, Value

VERSION = 2
"""The same numbers as the embedded journal's, also of what batches and snapshots say: it rises with each change of
meaning that the release before would not notice. There was no version 1 here."""
_LOCK = 0x616D626974
"""Of the advisory lock that those who make the tables hold: `ambit`, in ASCII."""
# fillfactor: the one row is written with each commit, and stays on its page.
_CREATE = f"""
DO $$
BEGIN
  PERFORM pg_advisory_xact_lock({_LOCK});
  IF to_regclass('ambit_ledger.ledger') IS NOT NULL THEN
    RETURN;
  END IF;
  CREATE SCHEMA IF NOT EXISTS ambit_ledger;
  CREATE TABLE ambit_ledger.ledger (
    id integer PRIMARY KEY CHECK (id = 1),
    version bigint NOT NULL,
    epoch bigint NOT NULL,
    beat bigint NOT NULL,
    held boolean NOT NULL,
    snapshot_upto bigint
  ) WITH (fillfactor = 10);
  CREATE TABLE ambit_ledger.batch (sequence bigint PRIMARY KEY, epoch bigint NOT NULL, changes bytea NOT NULL);
  ALTER TABLE ambit_ledger.batch ALTER COLUMN changes SET STORAGE EXTERNAL;
  CREATE TABLE ambit_ledger.record (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL,
    path text NOT NULL,
    at_ms bigint NOT NULL,
    body bytea NOT NULL
  );
  CREATE INDEX record_by_path ON ambit_ledger.record (kind, path, number);
  CREATE TABLE ambit_ledger.snapshot (
    upto bigint, number bigint, last boolean NOT NULL, chunk bytea NOT NULL, PRIMARY KEY (upto, number)
  );
  ALTER TABLE ambit_ledger.snapshot ALTER COLUMN chunk SET STORAGE EXTERNAL;
  INSERT INTO ambit_ledger.ledger VALUES (1, {VERSION}, 0, 0, false, NULL);
END
$$
"""


UPGRADES: dict[int, str] = {}
"""By version, the statement that makes the tables of the next. What it leaves must still be read by this release's
statements before it was run, too: a standby of this release follows a writer of the one before."""


def make(connection: Connection) -> None:
    """Makes the tables where there are none. Raises UnknownSchema where a newer release made them, JournalError."""
    if not connection.ask("SELECT true WHERE to_regclass('ambit_ledger.ledger') IS NOT NULL"):
        connection.ask(_CREATE)
    ((version,),) = connection.ask("SELECT version FROM ambit_ledger.ledger")
    _readable(version)


def upgrade(connection: Connection) -> None:
    """Brings the tables of an older release to this version: by the writer alone, within the transaction that makes it
    the writer, so that whoever wrote before is fenced by the same commit. Raises UnknownSchema, JournalError.
    """
    ((version,),) = connection.ask("SELECT version FROM ambit_ledger.ledger FOR UPDATE")
    for older in range(_readable(version), VERSION):
        connection.ask(UPGRADES[older])
        connection.ask("UPDATE ambit_ledger.ledger SET version = $1", older + 1)


def _readable(version: Value) -> int:
    if isinstance(version, int) and min(UPGRADES, default=VERSION) <= version <= VERSION:
        return version
    raise UnknownSchema(
        f"the journal in PostgreSQL is of version {version}, and this release knows up to {VERSION}: run the release "
        "that wrote it, or a newer one"
    )
