"""The store of an address: a folder for the embedded journal."""

from pathlib import Path

from ambit.ledger.journal import Source
from ambit.ledger.journal.sqlite import SqliteSource


def source_of(address: str) -> Source:
    """Where the journal at `address` is."""
    return SqliteSource(Path(address))
