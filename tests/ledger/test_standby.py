"""Two ledgers over one PostgreSQL: one writes, the other takes over, and nothing acknowledged is lost."""

import asyncio
import signal
import time
from collections.abc import Generator
from pathlib import Path

import aiohttp
import pytest

from ambit.ledger import wire
from ambit.ledger.client import LedgerClient
from tests.ledger.postgres_servers import PostgresCluster, postgres
from tests.ledger.replicas import Replicas, replicas
from tests.ledger.test_crashes import BUDGET, HOLDERS, ONE, Load, prepare

pytestmark = pytest.mark.integration
TAKEOVER_S = 5.0


@pytest.fixture
def cluster() -> Generator[PostgresCluster]:
    with postgres() as found:
        yield found


async def counted(client: LedgerClient) -> tuple[int, int]:
    """Calls spent and held."""
    usage = await client.usage(wire.GetUsage(BUDGET))
    return usage.spent.model_calls, usage.held.model_calls


async def loaded(found: Replicas, client: LedgerClient, calls: int) -> tuple[Load, asyncio.Task[None]]:
    """Holders at work, of whose calls the first was settled."""
    await prepare(found, limit=HOLDERS * calls)
    load = Load(client, calls)
    loading = asyncio.create_task(load.run())
    await load.progress.wait()
    return load, loading


async def finished(load: Load, loading: asyncio.Task[None], client: LedgerClient) -> None:
    """All went on, each call was charged once, and nothing is held any more."""
    async with asyncio.timeout(60):
        await loading
    assert load.settled == HOLDERS * load.calls
    assert await counted(client) == (HOLDERS * load.calls, 0)


async def test_a_standby_takes_over_from_a_killed_writer(cluster: PostgresCluster, tmp_path: Path) -> None:
    async with replicas(tmp_path, cluster.address()) as found, found.client() as client:
        load, loading = await loaded(found, client, calls=300)
        old = await found.writer()
        killed_s = time.monotonic()
        settled = load.settled
        await old.kill()
        took_s = await found.takeover_s(old, killed_s)
        print(f"takeover after SIGKILL: {took_s:.2f} s")
        assert took_s <= TAKEOVER_S
        spent, held = await counted(client)
        assert spent >= settled, "an acknowledged settlement was lost"
        assert spent + held <= HOLDERS * load.calls
        await finished(load, loading, client)


async def test_a_writer_that_is_stopped_cleanly_leaves_its_place_at_once(
    cluster: PostgresCluster, tmp_path: Path
) -> None:
    async with replicas(tmp_path, cluster.address()) as found, found.client() as client:
        load, loading = await loaded(found, client, calls=100)
        old = await found.writer()
        stopped_s = time.monotonic()
        assert await old.stop() == 0
        place = cluster.primary.sql("SELECT epoch, held FROM ambit_ledger.ledger")
        assert place in ("1|f", "2|t"), "it is not left, so that the other waits for its silence"
        took_s = await found.takeover_s(old, stopped_s)
        print(f"takeover after SIGTERM: {took_s:.2f} s")
        assert took_s <= TAKEOVER_S
        await finished(load, loading, client)


async def test_a_writer_that_was_stopped_for_longer_than_every_timeout_answers_nothing(
    cluster: PostgresCluster, tmp_path: Path
) -> None:
    async with replicas(tmp_path, cluster.address()) as found, found.client() as client:
        load, loading = await loaded(found, client, calls=200)
        old = await found.writer()
        old.process.send_signal(signal.SIGSTOP)
        stopped_s = time.monotonic()
        assert await found.takeover_s(old, stopped_s) <= TAKEOVER_S
        new = await found.writer(other_than=old)
        await finished(load, loading, client)
        before = await counted(client)
        old.process.send_signal(signal.SIGCONT)
        async with old.client(deadline_s=1.0) as late:
            hold = wire.Reserve(late.next_id(), "session/n/s-0", ONE, ONE, 60_000)
            with pytest.raises(Exception, match=r"within 1 s"):
                await late.reserve(hold)
            with pytest.raises(Exception, match=r"within 1 s"):
                await late.usage(wire.GetUsage(BUDGET))
        assert await counted(client) == before
        assert found.ready is new


async def test_a_past_writer_says_nothing_to_those_who_listen(cluster: PostgresCluster, tmp_path: Path) -> None:
    headers = {"Authorization": "Bearer user-gateway"}
    async with replicas(tmp_path, cluster.address()) as found, found.client("operator") as client:
        old = await found.writer()
        address = f"{old.url}/v1/events?silenceMs=1000"
        timeout = aiohttp.ClientTimeout(total=None)
        async with found.http.get(address, headers=headers, timeout=timeout) as listening:
            await listening.content.readline()
            old.process.send_signal(signal.SIGSTOP)
            await found.writer(other_than=old)
            await client.put_account(wire.PutAccount(BUDGET))  # it is the other's to tell of
            listening.content.read_nowait()  # what it had said before
            old.process.send_signal(signal.SIGCONT)
            async with asyncio.timeout(30):
                assert await listening.content.read() == b"", "a past writer speaks"


async def test_postgres_may_crash_and_come_back_under_load(cluster: PostgresCluster, tmp_path: Path) -> None:
    async with replicas(tmp_path, cluster.address()) as found, found.client(deadline_s=60) as client:
        load, loading = await loaded(found, client, calls=200)
        for _ in range(3):
            settled = load.settled
            await asyncio.to_thread(cluster.primary.stop, signal.SIGQUIT)
            await asyncio.to_thread(cluster.primary.start)
            spent, _ = await counted(client)
            assert spent >= settled, "an acknowledged settlement was lost"
            load.progress.clear()
            if not loading.done():
                await load.progress.wait()
        await finished(load, loading, client)


async def test_failover_to_a_promoted_standby_while_the_old_primary_lives(
    cluster: PostgresCluster, tmp_path: Path
) -> None:
    await asyncio.to_thread(cluster.add_standby)
    old_primary, standby = cluster.servers
    async with replicas(tmp_path, cluster.address()) as found, found.client(deadline_s=60) as client:
        load, loading = await loaded(found, client, calls=200)
        settled = load.settled
        began_s = time.monotonic()
        await asyncio.to_thread(standby.promote)
        spent, _ = await counted(client)
        print(f"answers again after a failover: {time.monotonic() - began_s:.2f} s")
        assert spent >= settled, "an acknowledged settlement was lost"
        await finished(load, loading, client)
    epochs = [server.sql("SELECT epoch FROM ambit_ledger.ledger") for server in (old_primary, standby)]
    assert int(epochs[1]) > int(epochs[0]), "the epoch was taken at the old primary"
    batches = [int(server.sql("SELECT max(sequence) FROM ambit_ledger.batch")) for server in (old_primary, standby)]
    assert batches[1] > batches[0], "the old primary has committed"
