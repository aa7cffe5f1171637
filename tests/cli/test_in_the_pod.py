"""`ambit ledger …`, typed where there is no ledger, says what to write."""

import sys

import pytest
from click.testing import CliRunner

from ambit.cli.ledger import ledger

NOTHING_SET = dict.fromkeys(
    ("AMBIT_LEDGER_STORE", "AMBIT_LEDGER_DATA", "AMBIT_LEDGER_URL", "AMBIT_LEDGER_TOKEN_FILE", "AMBIT_NAMESPACE")
)
IN_LEDGER = "kubectl exec -n ambit-system deploy/ambit-ledger -- ambit ledger"
IN_OPERATOR = "kubectl exec -n ambit-system deploy/ambit-operator -- ambit ledger"


def typed(monkeypatch: pytest.MonkeyPatch, *arguments: str, **environ: str) -> str:
    """What standard error says to it; the command fails."""
    monkeypatch.setattr(sys, "argv", ["/usr/bin/ambit", "ledger", *arguments])
    done = CliRunner().invoke(ledger, arguments, env={**NOTHING_SET, **environ})
    assert (done.exit_code, done.stdout) == (1, "")
    return done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["usage", "--by", "label:a b"], f"{IN_LEDGER} usage --by 'label:a b'\n"),
        (["inspect", "budget/team-a/b"], f"{IN_LEDGER} inspect budget/team-a/b\n"),
        (["audit", "export"], f"{IN_LEDGER} audit export\n"),
        (["audit", "verify"], "--store with its folder"),
        (["backup", "-"], f"{IN_LEDGER} backup - > FILE\n"),
        (["restore", "-"], "docs/ledger-storage.md"),
        (
            ["accept-clock", "--reason", "it is right", "--by", "ada"],
            f"{IN_OPERATOR} accept-clock --reason 'it is right' --by ada\n",
        ),
        (["resume", "--forget", "--reason", "r", "--by", "ada"], f"{IN_OPERATOR} resume --forget"),
    ],
)
def test_it_says_in_which_pod_it_runs(monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str) -> None:
    said = typed(monkeypatch, *arguments)
    assert says in said
    assert "AMBIT_LEDGER_URL" not in said, "nobody sets up by hand what the Pods have"


def test_it_names_the_namespace_that_ambit_is_in(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "kubectl exec -n agents deploy/ambit-ledger" in typed(monkeypatch, "usage", AMBIT_NAMESPACE="agents")


def test_a_journal_that_is_named_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "kubectl" not in typed(monkeypatch, "usage", "--store", "/no/such/folder")
