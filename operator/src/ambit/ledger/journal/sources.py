"""The store of an address: a folder for the embedded journal, `postgres://…` for PostgreSQL."""

from collections.abc import Sequence
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


def sources_of(address: str, password_file: Path | None = None) -> Sequence[Source]:
    """Every journal at `address`: one for each partition that its database was made for. Raises JournalError."""
    if not address.startswith(POSTGRES) or "#" in address:
        return (source_of(address, password_file),)
    from ambit.ledger.journal.postgres_partitions import journals_at

    return journals_at(address, password_file)
