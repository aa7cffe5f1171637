"""A full disk: nothing new is held, what is held can be settled, nothing is forgotten. On a small disk of its own."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ambit.ledger import wire
from ambit.ledger.client import LedgerClient
from ambit.ledger.journal import Batch, JournalError
from ambit.ledger.journal.reserved import FILE, SettlementSpace
from ambit.ledger.journal.sqlite import SqliteJournal
from ambit.telemetry.reasons import SessionEnd
from tests.ledger.server import running, start
from tests.ledger.test_crashes import AGENT, ONE, counted, prepare, session_of

SPACE_BYTES = 512 * 1024
ENVIRON = {"SETTLEMENT_SPACE_BYTES": str(SPACE_BYTES)}
HELD = 100


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], check=False)
    if os.geteuid() != 0 or mounted.returncode != 0:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """A file that takes all the room there is."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return ballast


def append_until_it_settles_only(journal: SqliteJournal) -> int:
    sequence = 0
    while not journal.settling_only():
        sequence += 1
        journal.append(Batch(sequence, b"x" * 3000), ())
    return sequence


def append_until_it_fails(journal: SqliteJournal, sequence: int) -> int:
    while True:
        try:
            journal.append(Batch(sequence + 1, b"y" * 3000), ())
        except JournalError:
            return sequence
        sequence += 1


def test_the_batch_that_fills_the_disk_is_kept_in_the_space_for_settlements(small_disk: Path) -> None:
    journal = SqliteJournal(small_disk, settlement_space_bytes=SPACE_BYTES)
    fill(small_disk)
    last = append_until_it_settles_only(journal)
    assert not (small_disk / FILE).exists()
    for sequence in range(last + 1, last + HELD + 1):
        journal.append(Batch(sequence, b"a settlement"), ())
    assert [batch.sequence for batch in journal.batches(0)] == list(range(1, last + HELD + 1))
    journal.close()


def test_where_that_is_used_up_too_nothing_more_is_acknowledged(small_disk: Path) -> None:
    journal = SqliteJournal(small_disk, settlement_space_bytes=SPACE_BYTES)
    ballast = fill(small_disk)
    sequence = append_until_it_settles_only(journal)
    sequence = append_until_it_fails(journal, sequence)
    journal.close()
    ballast.unlink()
    again = SqliteJournal(small_disk, settlement_space_bytes=SPACE_BYTES)
    assert [batch.sequence for batch in again.batches(0)] == list(range(1, sequence + 1))
    assert not again.settling_only()
    again.close()


def test_the_space_is_taken_back_once_there_is_room(small_disk: Path) -> None:
    space = SettlementSpace(small_disk, SPACE_BYTES)
    ballast = fill(small_disk)
    assert space.spend()
    assert not space.spend(), "it can be given up once"
    space.take_back()
    assert space.spent, "there is room for it, and none besides: it would be given up at once"
    ballast.unlink()
    space.take_back()
    assert not space.spent
    assert (small_disk / FILE).stat().st_blocks * 512 >= SPACE_BYTES, "a file with holes keeps no room"


async def hold(client: LedgerClient, number: int) -> tuple[str, wire.AnyResult]:
    """One hold asked for, and the answer."""
    asked = wire.Reserve(client.next_id(), session_of(number % 8), ONE, ONE, 3_600_000)
    return asked.id, await client.reserve(asked)


async def hold_until_full(client: LedgerClient) -> list[str]:
    """Ids of what was granted until the ledger said that its disk is full."""
    granted: list[str] = []
    while True:
        id_, answer = await hold(client, len(granted))
        if isinstance(answer, wire.Refused):
            assert answer.reason is wire.RefusalReason.STORAGE_FULL
            return granted
        assert isinstance(answer, wire.Granted)
        granted.append(id_)


async def test_a_full_disk_refuses_new_holds_settles_the_old_ones_and_forgets_nothing(small_disk: Path) -> None:
    server = await start(small_disk, ENVIRON)
    await prepare(server, limit=1_000_000)
    async with server.client() as client:
        granted = [(await hold(client, number))[0] for number in range(2 * HELD)]
        fill(small_disk)
        granted += await hold_until_full(client)
        opened = await client.open(wire.Open("session/n/new", AGENT, 3_600_000))
        assert isinstance(opened, wire.Refused)
        for id_ in granted[:HELD]:
            assert await client.settle(wire.Settle(id_, ONE)) == wire.Settled()
        await client.close(wire.Close(session_of(7), SessionEnd.COMPLETED))
        await server.kill()
        (small_disk / "ballast").unlink()
        async with running(small_disk, ENVIRON) as again, again.client() as later:
            assert await counted(again) == (HELD, len(granted) - HELD)
            opened = await later.open(wire.Open("session/n/new", AGENT, 3_600_000))
            assert opened == wire.Opened(already=False, attributes={})


async def test_it_holds_again_once_there_is_room_without_a_restart(small_disk: Path) -> None:
    server = await start(small_disk, ENVIRON)
    await prepare(server, limit=1_000_000)
    fill(small_disk)
    async with server.client() as client:
        await hold_until_full(client)
        (small_disk / "ballast").unlink()
        async with server.client("operator") as operator:  # any commit looks for room again
            await operator.put_account(wire.PutAccount("budget/n/other"))
        assert isinstance((await hold(client, 0))[1], wire.Granted)
    await server.kill()
