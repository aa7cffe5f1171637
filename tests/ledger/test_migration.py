"""A journal that the release before wrote is taken up with every balance, and one of a newer release is refused.

`fixtures/journal-v1.sqlite` was written by that release's own code: Budgets, an Agent that was removed, sessions that
run, ended and were killed, holds open, extended, settled above what they held, expired and corrected; half of it behind
a snapshot. `journal-v1.json` is what that release answered about it.
"""

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ambit.ledger import wire
from ambit.ledger.allowance import LIFETIME_PLACE, RUNNING_WINDOWS
from ambit.ledger.amounts import Window
from ambit.ledger.holds import HoldState
from ambit.ledger.invariant import violations
from ambit.ledger.journal import UnknownSchema
from ambit.ledger.journal.sqlite import FILE, SqliteJournal
from ambit.ledger.replay import from_snapshot
from ambit.ledger.tree import Tree
from tests.ledger.server import running

FIXTURES = Path(__file__).with_name("fixtures")
TRUTH: dict[str, Any] = json.loads((FIXTURES / "journal-v1.json").read_text())


@pytest.fixture
def old(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    shutil.copy(FIXTURES / "journal-v1.sqlite", folder / FILE)
    return folder


def tree_of(folder: Path) -> Tree:
    journal = SqliteJournal(folder, settlement_space_bytes=4096)
    try:
        replay = from_snapshot(journal)
        for batch in journal.batches(replay.sequence):
            replay.take(batch)
        return replay.tree
    finally:
        journal.close()


def test_every_balance_is_what_the_release_before_said(old: Path) -> None:
    tree = tree_of(old)
    assert set(tree.state.accounts) == set(TRUTH["accounts"])
    for path, truth in TRUTH["accounts"].items():
        usage: dict[str, Any] = msgspec.json.decode(
            msgspec.json.encode(tree.apply("operator", wire.GetUsage(path), TRUTH["at_ms"]).result)
        )
        for limit in usage.get("limits", ()):
            limit.pop("beganMsAgo", None)  # which that release did not say
        for what in ("state", "parent", "spent", "held", "overrun", "limits"):
            assert usage.get(what, {}) == truth[what], (path, what)
    assert sorted(hold.id for hold in tree.state.holds() if hold.state is HoldState.OPEN) == TRUTH["open_holds"]


def test_the_tree_it_gives_holds_the_invariant(old: Path) -> None:
    assert violations(tree_of(old).state, TRUTH["at_ms"]) == []


def test_windows_that_were_not_counted_begin_with_the_most_they_can_have_seen(old: Path) -> None:
    account = tree_of(old).state.accounts["budget/team-a/top"]
    lifetime = account.spent_in(LIFETIME_PLACE)
    spent = {window: account.spent_in(place) for place, window in enumerate(RUNNING_WINDOWS)}
    assert spent[Window.MONTH] == spent[Window.WEEK] == lifetime
    assert spent[Window.HOUR] == spent[Window.DAY]


def test_it_is_migrated_once_and_epochs_go_on(old: Path) -> None:
    epochs: list[int] = []
    for _ in range(2):
        journal = SqliteJournal(old, settlement_space_bytes=4096)
        epochs.append(journal.epoch())
        journal.close()
    assert epochs == [2, 3]


def test_a_migration_that_is_broken_off_leaves_the_old_file(old: Path) -> None:
    before = (old / FILE).read_bytes()
    damaged = sqlite3.connect(old / FILE)
    damaged.execute("UPDATE batch SET changes = x'00' WHERE sequence = (SELECT max(sequence) FROM batch)")
    damaged.commit()
    damaged.close()
    with pytest.raises((TypeError, msgspec.MsgspecError)):
        SqliteJournal(old)
    tables = sqlite3.connect(old / FILE).execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
    assert ("ledger",) not in tables
    assert ("snapshot",) in tables
    (old / FILE).write_bytes(before)
    assert tree_of(old).state.accounts


def test_a_file_of_a_newer_release_is_refused(old: Path) -> None:
    SqliteJournal(old, settlement_space_bytes=4096).close()
    newer = sqlite3.connect(old / FILE)
    newer.execute("UPDATE ledger SET version = 3")
    newer.commit()
    newer.close()
    with pytest.raises(UnknownSchema, match="run the release that wrote it, or a newer one"):
        SqliteJournal(old)


async def test_a_ledger_serves_it(old: Path) -> None:
    async with running(old) as server, server.client() as client, server.client("operator") as operator:
        # It was recorded long ago, and without a witness nothing says how much time has passed since.
        await operator.accept_clock(wire.AcceptClock(reason="the recording is old", by="test"))
        usage = await client.usage(wire.GetUsage("budget/team-a/top"))
        truth = TRUTH["accounts"]["budget/team-a/top"]
        # What was held then has expired meanwhile, and is charged.
        assert usage.spent.usd_nanos == truth["spent"]["usd"] + truth["held"]["usd"]
