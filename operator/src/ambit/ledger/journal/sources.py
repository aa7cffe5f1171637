"""The store of an address: a folder for the embedded journal, `postgres://…` for PostgreSQL."""

from pathlib import Path

from ambit.ledger.journal import Source
from ambit.ledger.journal.sqlite import SqliteSource

POSTGRES = ("postgres://", "postgresql://")


def source_of(address: str, password_file: Path | None = None) -> Source:
    """Where the journal at `address` is."""
    if address.startswith(POSTGRES):
        from ambit.ledger.journal.postgres import PostgresSource  # only where it is used: it loads libpq

        return PostgresSource(address, password_file)
    return SqliteSource(Path(address))
