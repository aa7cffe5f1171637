"""A backup of a running ledger, and a ledger out of it that refuses until it is told what was spent since (rule 15)."""

import asyncio
import io
import os
import subprocess
import sys
from collections.abc import Awaitable
from pathlib import Path

import msgspec
import pytest

from ambit.ledger import backup, wire
from ambit.ledger.amounts import Amount
from ambit.ledger.client import HoldIdReused, LedgerNotResumed
from ambit.ledger.http_exchange import HttpLedger
from ambit.ledger.journal import Batch, Source
from ambit.ledger.journal.postgres import PostgresSource
from ambit.ledger.journal.sqlite import SqliteSource
from ambit.ledger.records import Record, RecordKind
from ambit.telemetry.reasons import SessionEnd
from tests.ledger.postgres_servers import postgres
from tests.ledger.server import Server, running
from tests.ledger.test_crashes import BUDGET, ONE, Load, counted, prepare, session_of

AMBIT = (sys.executable, "-c", "from ambit.cli.main import main; main()")


def a_backup_of(source: Source) -> bytes:
    stream = io.BytesIO()
    backup.write(source, stream)
    return stream.getvalue()


def embedded(folder: Path) -> SqliteSource:
    return SqliteSource(folder, settlement_space_bytes=4096)


async def asked_of(server: Server, op: wire.AnyOperation) -> wire.AnyResult:
    async with HttpLedger(server.url, lambda: "user-operator") as http:
        body = await http.exchange(msgspec.json.encode(wire.Operations([op])))
    return msgspec.json.decode(body, type=wire.Results).results[0]


async def a_ledger_that_spent(folder: Path, calls: int) -> bytes:
    """A backup made while the ledger runs, under load."""
    async with running(folder) as server, server.client(deadline_s=60) as client:
        await prepare(server, limit=1000)
        load = Load(client, calls)
        loading = asyncio.create_task(load.run())
        await load.progress.wait()
        early = await asyncio.to_thread(a_backup_of, embedded(folder))
        await loading
        late = await asyncio.to_thread(a_backup_of, embedded(folder))
    assert len(early) <= len(late)
    return late


async def test_a_restored_ledger_refuses_until_it_is_told_what_was_spent(tmp_path: Path) -> None:
    stream = await a_ledger_that_spent(tmp_path / "data", calls=5)
    backup.restore(embedded(tmp_path / "again"), io.BytesIO(stream))
    async with running(tmp_path / "again") as server, server.client() as client:
        asked = wire.Reserve(client.next_id(), session_of(0), ONE, ONE, 60_000)
        refused = await client.reserve(asked)
        assert isinstance(refused, wire.Refused)
        assert refused.reason is wire.RefusalReason.RESTORE_PENDING
        spent = wire.SpentSince(BUDGET, Amount(model_calls=7))
        answer = await asked_of(server, wire.Resume(by="ann", reason="from the access log", spent=(spent,)))
        assert answer == wire.Resumed()
        assert await counted(server) == (8 * 5 + 7, 0)
        with pytest.raises(HoldIdReused):
            await client.reserve(asked)  # whatever was not granted never will be, by that id
        asked = msgspec.structs.replace(asked, id=client.next_id())
        assert isinstance(await client.reserve(asked), wire.Granted)


async def test_to_whoever_asks_for_no_hold_a_restored_ledger_is_one_that_is_away(tmp_path: Path) -> None:
    # Operator and gateway wait for a ledger that is away, and have to be there when it is resumed.
    stream = await a_ledger_that_spent(tmp_path / "data", calls=1)
    backup.restore(embedded(tmp_path / "again"), io.BytesIO(stream))
    async with running(tmp_path / "again") as server, server.client() as client, server.client("operator") as operator:
        asked: list[Awaitable[object]] = [
            client.usage(wire.GetUsage(BUDGET)),
            client.sessions(wire.ListSessions(BUDGET)),
            client.settle(wire.Settle(client.next_id(), ONE)),
            client.close(wire.Close(session_of(0), SessionEnd.COMPLETED, "")),
            operator.put_account(wire.PutAccount(BUDGET)),
            operator.kill(wire.Kill(BUDGET, "enough", "ada")),
        ]
        for each in asked:
            with pytest.raises(LedgerNotResumed, match="ambit ledger resume"):
                await each
        await operator.resume(wire.Resume("nobody knows", "ann", (), forget=True))
        assert isinstance(await operator.usage(wire.GetUsage(BUDGET)), wire.Usage)


async def test_it_goes_on_refusing_after_a_crash(tmp_path: Path) -> None:
    stream = await a_ledger_that_spent(tmp_path / "data", calls=1)
    backup.restore(embedded(tmp_path / "again"), io.BytesIO(stream))
    for _ in range(2):
        async with running(tmp_path / "again") as server, server.client() as client:
            refused = await client.reserve(wire.Reserve(client.next_id(), session_of(0), ONE, ONE, 60_000))
            assert isinstance(refused, wire.Refused)


@pytest.fixture
def stream(tmp_path: Path) -> bytes:
    """A small backup with every kind of content."""
    journal = embedded(tmp_path / "small").open()
    journal.append(
        Batch(1, b"\x90"), [Record(RecordKind.AUDIT, 5, "p", b"one"), Record(RecordKind.SESSION, 6, "q", b"two")]
    )
    journal.append(Batch(2, b"\x90"), ())
    journal.close()
    return a_backup_of(embedded(tmp_path / "small"))


def test_records_come_along(stream: bytes, tmp_path: Path) -> None:
    contents = backup.restore(embedded(tmp_path / "again"), io.BytesIO(stream))
    assert contents == backup.Contents(last=2, accounts=0, records=2)
    reader = embedded(tmp_path / "again").read()
    assert [record.body for record in reader.records(RecordKind.AUDIT)] == [b"one"]
    assert [record.path for record in reader.records(RecordKind.SESSION)] == ["q"]
    reader.close()


def test_a_backup_that_is_cut_or_damaged_anywhere_is_refused(stream: bytes, tmp_path: Path) -> None:
    for length in range(len(stream)):
        with pytest.raises(backup.BackupUnusable):
            backup.restore(embedded(tmp_path / "again"), io.BytesIO(stream[:length]))
    flipped = stream[:-1] + bytes([stream[-1] ^ 1])
    with pytest.raises(backup.BackupUnusable):
        backup.restore(embedded(tmp_path / "again"), io.BytesIO(flipped))
    journal = embedded(tmp_path / "again").open()
    assert (journal.snapshot(), list(journal.batches(0))) == (None, [])
    journal.close()


def test_nothing_is_restored_over_a_journal(stream: bytes, tmp_path: Path) -> None:
    with pytest.raises(backup.BackupUnusable, match="there is a journal already"):
        backup.restore(embedded(tmp_path / "small"), io.BytesIO(stream))


def test_a_pinned_reader_stays_at_one_moment(tmp_path: Path) -> None:
    source = embedded(tmp_path)
    journal = source.open()
    journal.append(Batch(1, b"before"), ())
    reader = source.read()
    reader.pin()
    journal.append(Batch(2, b"after"), [Record(RecordKind.AUDIT, 5, "p", b"after")])
    assert [batch.sequence for batch in reader.batches(0)] == [1]
    assert list(reader.records(RecordKind.AUDIT)) == []
    reader.close()
    journal.close()


@pytest.mark.integration
def test_a_backup_of_one_kind_of_store_is_restored_into_the_other(stream: bytes, tmp_path: Path) -> None:
    with postgres() as cluster:
        backup.restore(PostgresSource(cluster.address()), io.BytesIO(stream))
        again = a_backup_of(PostgresSource(cluster.address()))
    assert backup.restore(embedded(tmp_path / "back"), io.BytesIO(again)).records == 2


def test_the_commands(stream: bytes, tmp_path: Path) -> None:
    def ambit(*words: str, folder: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        environ = {**os.environ, "AMBIT_LEDGER_DATA": str(tmp_path / folder)}
        return subprocess.run(
            [*AMBIT, "ledger", *words],
            env=environ,
            input=given,
            capture_output=True,
            check=False,
        )

    made = ambit("backup", "-", folder="small")
    assert made.returncode == 0, made.stderr
    assert made.stdout == stream
    done = ambit("restore", "-", folder="again", given=stream)
    assert (done.returncode, done.stderr) == (0, b"0 accounts, 2 records, up to batch 2\n")
    refused = ambit("restore", "-", folder="again", given=stream)
    assert refused.returncode == 1
    assert refused.stderr.startswith(b"ambit ledger restore: there is a journal already")
