"""`ambit ledger`: the process, and what people do with its books.

What only reads goes to the journal itself (in the ledger's pod, or over a folder that was copied); what changes
something goes to the living ledger with the operator's rights (in the operator's pod). docs/ledger.md says which where.
"""

import asyncio
import csv
import os
import sys
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ambit.cli.in_the_pod import expect_journal, expect_rights
from ambit.cli.ledger_store import backup, restore
from ambit.cli.table import aligned

if TYPE_CHECKING:
    from ambit.ledger.amounts import Resource
    from ambit.ledger.client import LedgerClient
    from ambit.ledger.journal import Reader
    from ambit.ledger.tree import Tree

AUDIT_BROKEN = 3
"""The exit code of `audit verify` where the chain is not whole: nothing else ends with it."""
_store = click.option("--store", help="A journal's folder or postgres:// address; without it, the ledger's settings.")


@click.group(invoke_without_command=True)
@click.pass_context
def ledger(ctx: click.Context) -> None:
    """Keeps the accounts (a process of the control plane). Its subcommands are for people."""
    if ctx.invoked_subcommand is None:
        from ambit.cli import processes

        ctx.invoke(processes.ledger)


ledger.add_command(backup)
ledger.add_command(restore)


# -- looking ---------------------------------------------------------------


@ledger.group()
def audit() -> None:
    """Checks and exports the record of kills, losses, refusals, changed limits and corrections."""


@audit.command()
@_store
@click.option("--file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="An export, to be checked.")
@click.option("--head", help="The head to check against, <sequence>:<hash>, as noted somewhere else.")
def verify(store: str | None, file: Path | None, head: str | None) -> None:
    """Says whether any record was changed, removed, inserted, moved or cut off. Exit code 3: one was."""
    from ambit.ledger.audit import Head, Tampering, from_lines
    from ambit.ledger.audit import verify as verify_chain
    from ambit.ledger.records import RecordKind

    try:
        anchor = None if head is None else Head.parse(head)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if file is not None:
        if anchor is None:
            raise click.UsageError("an export has no head of its own: give the ledger's, --head <sequence>:<hash>")
        with file.open("rb") as lines:
            chains = [verify_chain(from_lines(lines), anchor)]
    else:
        with _reading(store) as readers:
            if anchor is not None and len(readers) > 1:
                raise click.UsageError("each partition has a head of its own: name one, --store ADDRESS#<partition>")
            # The head comes first: records that are added meanwhile are newer than it.
            chains = [
                verify_chain(reader.records(RecordKind.AUDIT), anchor or head_of)
                for reader, head_of in ((reader, _tree(reader).state.audit_head) for reader in readers)
            ]
    for number, chain in enumerate(chains):
        of = f"partition {number}: " if len(chains) > 1 else ""
        if isinstance(chain, Tampering):
            click.echo(f"{of}record {chain.sequence} {chain.what}", err=True)
            continue
        newer = f"; {chain.newer} newer ones continue it" if chain.newer else ""
        click.echo(f"{of}{chain.head.sequence} records are whole, head {chain.head}{newer}")
    if any(isinstance(chain, Tampering) for chain in chains):
        sys.exit(AUDIT_BROKEN)


@audit.command("export")
@_store
def export_audit(store: str | None) -> None:
    """Writes every record as a line of JSON, oldest first; of several partitions, one after the other."""
    from ambit.ledger.audit import to_lines
    from ambit.ledger.records import RecordKind

    with _reading(store) as readers:
        for reader in readers:
            for line in to_lines(reader.records(RecordKind.AUDIT)):
                sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


@ledger.command()
@_store
@click.option("--by", multiple=True, default=("team",), show_default=True, help="team, agent, user or label:<name>.")
@click.option("--since", type=click.DateTime(), help="Sessions that ended since then (UTC); open ones end now.")
@click.option("--until", type=click.DateTime(), help="Sessions that ended before then (UTC).")
@click.option("--csv", "as_csv", is_flag=True, help="As CSV instead of a table.")
def usage(store: str | None, by: tuple[str, ...], since: datetime | None, until: datetime | None, as_csv: bool) -> None:
    """Adds up what sessions used: those that are open, and all that have ended."""
    from ambit.ledger.history import UnknownGrouping, sessions_of, to_csv
    from ambit.ledger.records import RecordKind
    from ambit.ledger.views import session_usage

    with _reading(store) as readers:
        states = [_tree(reader).state for reader in readers]
        over = [usage for reader in readers for usage in sessions_of(reader.records(RecordKind.SESSION))]
    here = [
        session_usage(each, each.session, state.now_ms if each.session.ending is None else each.session.ending.at_ms)
        for state in states
        for each in state.accounts.values()
        if each.session is not None
    ]
    # One that folded between the two looks is in both: what is in the records is final.
    final = {each.path for each in over}
    found = [*over, *(each for each in here if each.path not in final)]
    first_ms, last_ms = _ms(since, 0), _ms(until, 2**62)
    chosen = [each for each in found if first_ms <= each.ended_ms < last_ms]
    try:
        lines = list(to_csv(chosen, by))
    except UnknownGrouping as error:
        raise click.UsageError(str(error)) from error
    if as_csv:
        click.echo("".join(lines), nl=False)
    else:
        header, *rows = csv.reader(lines)
        click.echo(aligned(tuple(header), [tuple(row) for row in rows]))


@ledger.command()
@click.argument("path")
@_store
def inspect(path: str, store: str | None) -> None:
    """Shows an account as the journal has it, with what it spent in each window that ended, as JSON."""
    import msgspec

    from ambit.ledger.history import windows_of
    from ambit.ledger.records import RecordKind
    from ambit.ledger.views import usage as view

    with _reading(store) as readers:
        for reader in readers:
            state = _tree(reader).state
            account = state.accounts.get(path)
            if account is not None:
                history = windows_of(reader.records(RecordKind.WINDOW, path))
                break
        else:
            raise click.ClickException(f"the ledger has no account {path}: is it a session that ended long ago?")
    shown = {"asOfMs": state.now_ms, "account": view(state, account, state.now_ms), "history": history}
    click.echo(msgspec.json.format(msgspec.json.encode(shown), indent=2))


# -- changing --------------------------------------------------------------


@ledger.command()
@click.argument("path")
@click.argument("resource")
@click.option("--amount", required=True, help="Added to what is spent; usd and payments in dollars, times in seconds.")
@click.option("--reason", required=True, help="Why, for the audit.")
@click.option("--by", required=True, help="Who decided it, for the audit.")
def adjust(path: str, resource: str, amount: str, reason: str, by: str) -> None:
    """Corrects what an account, and all above it, have spent: --amount -1.50 takes off, without a sign it adds."""
    from ambit.ledger import wire

    known, units = _units(resource, amount)
    _ask(lambda client: client.adjust(wire.Adjust(path, known, units, reason, by)))
    click.echo(f"{path}: {amount} {resource} corrected")


@ledger.command()
@click.option(
    "--spent", nargs=3, multiple=True, metavar="PATH RESOURCE AMOUNT", help="What was spent since the backup."
)
@click.option("--forget", is_flag=True, help="Instead: nobody knows what was spent since, and it is not counted.")
@click.option("--reason", required=True, help="Why, for the audit.")
@click.option("--by", required=True, help="Who decided it, for the audit.")
def resume(spent: tuple[tuple[str, str, str], ...], forget: bool, reason: str, by: str) -> None:
    """Lets a ledger that was restored from a backup answer again."""
    from ambit.ledger import wire
    from ambit.ledger.amounts import INDEX, Amount

    if forget is bool(spent):
        raise click.UsageError("say what was spent since the backup (--spent), or --forget, and not both")
    since: list[wire.SpentSince] = []
    for path, resource, amount in spent:
        known, units = _units(resource, amount)
        if units < 0:
            raise click.UsageError(f"{amount} {resource}: what was spent is above zero; adjust corrects downwards")
        since.append(wire.SpentSince(path, Amount.of({INDEX[known]: units})))
    _ask(lambda client: client.resume(wire.Resume(reason, by, tuple(since), forget)))
    click.echo("the ledger answers again")


@ledger.command("accept-clock")
@click.option("--reason", required=True, help="Why the jump is right, for the audit.")
@click.option("--by", required=True, help="Who decided it, for the audit.")
def accept_clock(reason: str, by: str) -> None:
    """Lets time go by the clock again, after it jumped forward by more than five minutes."""
    from ambit.ledger import wire

    _ask(lambda client: client.accept_clock(wire.AcceptClock(reason, by)))
    click.echo("time goes by the clock again")


# -- how -------------------------------------------------------------------


@contextmanager
def _reading(store: str | None) -> "Generator[list[Reader]]":
    """A look at each partition's journal, or at the one."""
    from ambit.ledger.journal import JournalError
    from ambit.ledger.journal.sources import sources_of
    from ambit.ledger.settings import password_file, store_of
    from ambit.settings import SettingsError

    expect_journal(store)
    try:
        sources = sources_of(store or store_of(os.environ), password_file(os.environ))
        with ExitStack() as opened:
            yield [opened.enter_context(closing(source.read())) for source in sources]
    except (JournalError, SettingsError) as error:
        raise click.ClickException(str(error)) from error


def _tree(reader: "Reader") -> "Tree":
    """The tree after every batch that is committed."""
    from ambit.ledger.journal import BatchesGone
    from ambit.ledger.replay import from_snapshot

    while True:
        replay = from_snapshot(reader)
        try:
            for batch in reader.batches(replay.sequence):
                replay.take(batch)
        except BatchesGone:
            continue  # a newer snapshot stands for them
        return replay.tree


def _ask(question: "Callable[[LedgerClient], Awaitable[object]]") -> None:
    from ambit.kube.config import TokenFile
    from ambit.ledger.client import LedgerClient, LedgerError, LedgerUnavailable
    from ambit.settings import SettingsError, required

    expect_rights()

    async def ask() -> None:
        url = required(os.environ, "AMBIT_LEDGER_URL", "http://ambit-ledger.ambit-system:8090")
        token_file = Path(required(os.environ, "AMBIT_LEDGER_TOKEN_FILE", "/var/run/secrets/ambit-ledger/token"))
        async with LedgerClient(url, TokenFile(token_file, time.monotonic)) as client:
            await question(client)

    try:
        asyncio.run(ask())
    except (LedgerError, LedgerUnavailable, SettingsError) as error:
        raise click.ClickException(str(error)) from error


def _units(resource: str, amount: str) -> "tuple[Resource, int]":
    """A resource and an amount of it in the ledger's units."""
    from ambit.ledger.amounts import Resource
    from ambit.ledger.history import PLACES

    try:
        known = Resource(resource)
        units = Decimal(amount).scaleb(PLACES.get(known, 0))
    except ValueError as error:
        raise click.UsageError(f"{resource!r} is no resource: write one of {', '.join(Resource)}") from error
    except InvalidOperation as error:
        raise click.UsageError(f"{amount!r} is no amount: write for example -1.50") from error
    if not units.is_finite() or units != units.to_integral_value() or not units:
        raise click.UsageError(f"{amount} is no amount of {resource}: too fine, or nothing at all")
    return known, int(units)


def _ms(instant: datetime | None, otherwise: int) -> int:
    return otherwise if instant is None else int(instant.replace(tzinfo=UTC).timestamp() * 1000)
