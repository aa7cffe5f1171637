"""`ambit ledger …` over a journal that a real ledger keeps, and over one that is stopped."""

import asyncio
import csv
import io
import json
import os
import sqlite3
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from ambit.ledger import wire
from ambit.ledger.amounts import Amount, Limit, Resource, Window
from tests.ledger.server import Server, running

BUDGET, AGENT, SESSION = "budget/team-a/b", "agent/team-a/a", "session/team-a/s"
AMBIT = Path(sys.executable).parent / "ambit"


@dataclass
class Ran:
    """How a command ended, and what it said."""

    code: int
    out: str
    error: str


async def ambit_ledger(*arguments: str, environ: dict[str, str] | None = None) -> Ran:
    process = await asyncio.create_subprocess_exec(
        AMBIT,
        "ledger",
        *arguments,
        env={**{name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}, **(environ or {})},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await process.communicate()
    assert b"Traceback" not in error, error.decode()
    return Ran(process.returncode or 0, out.decode(), error.decode())


@asynccontextmanager
async def a_ledger(folder: Path) -> AsyncGenerator[Server]:
    """A ledger with a Budget, an Agent and a session of ada's that used 7 tokens and 1.5 dollars."""
    async with running(folder) as server, server.client("operator") as client:
        await client.put_account(wire.PutAccount(BUDGET, (Limit(Window.DAY, Resource.TOKENS, 100),)))
        await client.put_account(wire.PutAccount(AGENT, parent=BUDGET))
        await client.open(wire.Open(SESSION, AGENT, 3_600_000, user="ada", labels={"project": "x"}))
        used = Amount(usd_nanos=1_500_000_000, tokens=7)
        await client.reserve(wire.Reserve("h", SESSION, used, used, 60_000))
        await client.settle(wire.Settle("h", used))
        yield server


async def test_the_audit_is_verified_while_the_ledger_runs_and_as_an_export(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    async with a_ledger(folder):
        verified = await ambit_ledger("audit", "verify", "--store", str(folder))
        assert (verified.code, verified.error) == (0, "")
        assert verified.out.startswith("2 records are whole, head 2:")
        head = verified.out.split()[-1]
        exported = await ambit_ledger("audit", "export", "--store", str(folder))
        lines = [json.loads(line) for line in exported.out.splitlines()]
        assert [(line["path"], line["entry"]["event"]) for line in lines] == [(BUDGET, "Limits"), (AGENT, "Limits")]
        export = tmp_path / "audit.jsonl"
        export.write_text(exported.out)
        assert (await ambit_ledger("audit", "verify", "--file", str(export), "--head", head)).code == 0
        export.write_text(exported.out.replace('"amount":100', '"amount":1000'))
        changed = await ambit_ledger("audit", "verify", "--file", str(export), "--head", head)
        assert (changed.code, changed.out) == (3, "")
        assert "record 1 does not say what was sealed" in changed.error


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("DELETE FROM record WHERE kind = 'Audit' AND path = 'agent/team-a/a'", "record 2 missing"),
        (
            "UPDATE record SET at_ms = at_ms + 1 WHERE kind = 'Audit' AND path = 'budget/team-a/b'",
            "record 1 does not say",
        ),
    ],
)
async def test_a_record_that_was_changed_or_cut_on_the_disk_is_found(tmp_path: Path, statement: str, said: str) -> None:
    folder = tmp_path / "data"
    async with a_ledger(folder) as server:
        await server.stop()
    with sqlite3.connect(folder / "ledger.sqlite") as connection:
        assert connection.execute(statement).rowcount == 1
    connection.close()
    found = await ambit_ledger("audit", "verify", "--store", str(folder))
    assert found.code == 3
    assert said in found.error


async def test_usage_and_one_account_are_shown(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    async with a_ledger(folder):
        asked = ("usage", "--csv", "--by", "team", "--by", "user", "--by", "label:project", "--store", str(folder))
        (row,) = csv.DictReader(io.StringIO((await ambit_ledger(*asked)).out))
        assert (row["namespace"], row["budget"], row["user"], row["label:project"]) == (
            "team-a",
            "team-a/b",
            "ada",
            "x",
        )
        assert (row["sessions"], row["usd"], row["tokens"]) == ("1", "1.5", "7")
        table = await ambit_ledger("usage", "--by", "user", "--store", str(folder))
        assert table.out.split()[0] == "user"
        shown = json.loads((await ambit_ledger("inspect", BUDGET, "--store", str(folder))).out)
        assert shown["account"]["limits"] == [
            {
                **shown["account"]["limits"][0],
                "window": "Day",
                "resource": "tokens",
                "limit": 100,
                "spent": 7,
                "held": 0,
            }
        ]
        unknown = await ambit_ledger("inspect", "budget/team-a/none", "--store", str(folder))
        assert (unknown.code, unknown.out) == (1, "")
        assert "has no account budget/team-a/none" in unknown.error


async def test_a_correction_is_made_with_a_reason_and_audited(tmp_path: Path) -> None:
    folder, token = tmp_path / "data", tmp_path / "token"
    token.write_text("user-operator")
    async with a_ledger(folder) as server:
        living = {"AMBIT_LEDGER_URL": server.url, "AMBIT_LEDGER_TOKEN_FILE": str(token)}
        why = ("--reason", "the provider refunded it", "--by", "ada")
        done = await ambit_ledger("adjust", BUDGET, "usd", "--amount", "-0.5", *why, environ=living)
        assert (done.code, done.error) == (0, "")
        async with server.client("operator") as client:
            assert (await client.usage(wire.GetUsage(BUDGET))).spent.usd_nanos == 1_000_000_000
        assert (await ambit_ledger("accept-clock", *why, environ=living)).code == 0
        refused = await ambit_ledger("adjust", BUDGET, "usd", "--amount", "-5", *why, environ=living)
        assert refused.code == 1
        assert f"{BUDGET} has spent 1 usd: take off at most that much" in refused.error
        absent = await ambit_ledger("adjust", "budget/team-a/none", "usd", "--amount", "1", *why, environ=living)
        assert (absent.code, absent.out) == (1, "")
        assert "the ledger has no account budget/team-a/none" in absent.error
        assert (await ambit_ledger("adjust", BUDGET, "usd", "--amount", "-1", environ=living)).code == 2, "no reason"
        audit = (await ambit_ledger("audit", "export", "--store", str(folder))).out
    entry = json.loads(audit.splitlines()[-1])["entry"]
    assert entry == {
        "event": "Adjustment",
        "resource": "usd",
        "amount": -500_000_000,
        "reason": "the provider refunded it",
        "by": "ada",
    }


@pytest.mark.parametrize(
    ("resource", "amount"), [("dollars", "1"), ("usd", "x"), ("tokens", "0.5"), ("usd", "0"), ("usd", "NaN")]
)
async def test_what_is_no_amount_is_refused_before_anything_is_asked(resource: str, amount: str) -> None:
    ran = await ambit_ledger("adjust", BUDGET, resource, "--amount", amount, "--reason", "r", "--by", "ada")
    assert ran.code == 2
    assert "is no" in ran.error


async def test_a_restored_ledger_answers_again_once_it_is_told_what_was_spent_since(tmp_path: Path) -> None:
    folder, token, copy = tmp_path / "data", tmp_path / "token", tmp_path / "backup"
    token.write_text("user-operator")
    async with a_ledger(folder):
        assert (await ambit_ledger("backup", str(copy), environ={"AMBIT_LEDGER_DATA": str(folder)})).code == 0
    restored = {"AMBIT_LEDGER_DATA": str(tmp_path / "restored")}
    assert (await ambit_ledger("restore", str(copy), environ=restored)).code == 0
    async with running(tmp_path / "restored") as server:
        living = {"AMBIT_LEDGER_URL": server.url, "AMBIT_LEDGER_TOKEN_FILE": str(token)}
        why = ("--reason", "its disk died", "--by", "ada")
        assert (await ambit_ledger("resume", *why, environ=living)).code == 2, "neither told nor forgotten"
        done = await ambit_ledger("resume", "--spent", BUDGET, "tokens", "5", *why, environ=living)
        assert (done.code, done.error) == (0, "")
        async with server.client("operator") as client:
            assert (await client.usage(wire.GetUsage(BUDGET))).spent.tokens == 12
    verified = await ambit_ledger("audit", "verify", "--store", str(tmp_path / "restored"))
    assert (verified.code, verified.error) == (0, "")
    assert verified.out.startswith("3 records are whole")
