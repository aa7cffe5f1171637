"""Where a command has to run that needs what a Pod of the control plane has: its journal, or its rights."""

import os
import shlex
import sys
from typing import Final

import click

DEFAULT_NAMESPACE: Final = "ambit-system"
LEDGER, OPERATOR = "ambit-ledger", "ambit-operator"


def expect_journal(store: str | None) -> None:
    """Raises ClickException where nothing says where the journal is."""
    if store is None and not _names_a_journal():
        raise click.ClickException(
            f"this reads the ledger's journal, which is in its Pod; write\n  {_in_pod(LEDGER, _typed())}\n"
            "or, where you have a journal here, --store with its folder or postgres:// address"
        )


def expect_journal_to_back_up() -> None:
    """As `expect_journal`; the copy comes through standard output, not to a file of the Pod's."""
    if not _names_a_journal():
        there = _in_pod(LEDGER, ["ambit", "ledger", "backup", "-"])
        raise click.ClickException(f"this reads the ledger's journal, which is in its Pod; write\n  {there} > FILE")


def expect_place_to_restore() -> None:
    """As `expect_journal`; a restore is made where no ledger runs."""
    if not _names_a_journal():
        raise click.ClickException(
            "this makes the ledger's journal on its volume, while no ledger runs: docs/ledger-storage.md, under Backup"
            " and restore, says by which Pod; here, AMBIT_LEDGER_DATA names the folder"
        )


def expect_rights() -> None:
    """Raises ClickException where nothing says where the ledger is, and who asks."""
    if not (os.environ.get("AMBIT_LEDGER_URL") and os.environ.get("AMBIT_LEDGER_TOKEN_FILE")):
        raise click.ClickException(
            f"this needs the operator's rights at the ledger; write\n  {_in_pod(OPERATOR, _typed())}"
        )


def _names_a_journal() -> bool:
    return any(os.environ.get(name) for name in ("AMBIT_LEDGER_STORE", "AMBIT_LEDGER_DATA"))


def _typed() -> list[str]:
    return ["ambit", *sys.argv[1:]]


def _in_pod(deployment: str, command: list[str]) -> str:
    namespace = os.environ.get("AMBIT_NAMESPACE", DEFAULT_NAMESPACE)
    return f"kubectl exec -n {namespace} deploy/{deployment} -- {shlex.join(command)}"
