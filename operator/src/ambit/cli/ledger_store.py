"""`ambit ledger backup` and `restore`: the journal as one stream, read from and written to where the ledger's settings
say that it is."""

import os
import sys
from typing import BinaryIO, NoReturn

import click

from ambit.cli.in_the_pod import expect_journal_to_back_up, expect_place_to_restore


@click.command()
@click.argument("file", type=click.File("wb"))
def backup(file: BinaryIO) -> None:
    """Writes a consistent copy of the journal to FILE (- for standard output), while the ledger goes on."""
    from ambit.ledger.journal import JournalError
    from ambit.ledger.journal.sources import sources_of
    from ambit.ledger.partitions import backups
    from ambit.ledger.settings import password_file, store_of
    from ambit.settings import SettingsError

    expect_journal_to_back_up()
    try:
        contents = backups.write(sources_of(store_of(os.environ), password_file(os.environ)), file)
        file.flush()
    except (SettingsError, JournalError, OSError) as error:
        _fail("backup", error)
    click.echo(f"{contents.accounts} accounts, {contents.records} records, up to batch {contents.last}", err=True)


@click.command()
@click.argument("file", type=click.File("rb"))
def restore(file: BinaryIO) -> None:
    """Makes the journal of a backup in FILE (- for standard input), where there is none yet.

    The ledger that is started over it refuses everything until `ambit ledger resume` says what was spent since the
    backup, or to forget it.
    """
    from ambit.ledger.backup import BackupUnusable
    from ambit.ledger.journal import JournalError
    from ambit.ledger.partitions import backups
    from ambit.ledger.settings import password_file, store_of
    from ambit.settings import SettingsError

    expect_place_to_restore()
    try:
        contents = backups.restore(store_of(os.environ), password_file(os.environ), file)
    except (SettingsError, JournalError, BackupUnusable, OSError) as error:
        _fail("restore", error)
    click.echo(f"{contents.accounts} accounts, {contents.records} records, up to batch {contents.last}", err=True)


def _fail(command: str, error: Exception) -> NoReturn:
    click.echo(f"ambit ledger {command}: {error}", err=True)
    sys.exit(1)
