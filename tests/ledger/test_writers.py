"""Trees spread over three ledgers: one dies, joins or is stopped, and nothing acknowledged is lost or granted twice."""

import asyncio
import signal
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from ambit.ledger import wire
from ambit.ledger.client import AccountInOtherTree, AccountUnknown, OperationForbidden
from ambit.ledger.journal import UnknownSchema
from ambit.ledger.journal.postgres import PostgresSource
from ambit.ledger.journal.postgres_partitions import PostgresPartitions
from ambit.ledger.journal.postgres_schema import schema_of
from tests.ledger.postgres_servers import PostgresCluster, postgres
from tests.ledger.replicas import is_ready
from tests.ledger.spread import ONE, all_of_it, busiest, going_on, trees_in
from tests.ledger.writers import HANG_S, PARTITIONS, until, writers

pytestmark = pytest.mark.integration


@pytest.fixture
def cluster() -> Generator[PostgresCluster]:
    with postgres() as found:
        yield found


async def test_each_ledger_writes_its_share_and_every_client_finds_each_tree(
    cluster: PostgresCluster, tmp_path: Path
) -> None:
    async with writers(tmp_path, cluster.address()) as found:
        trees = await trees_in(found, calls=2)
        async with found.client() as client:  # knows nothing of what the operator's client did
            await asyncio.gather(*(tree.calls(client, 2) for tree in trees))
            assert [await tree.call(client) for tree in trees] == [False] * PARTITIONS
            assert [await tree.counted(client) for tree in trees] == [(2, 0)] * PARTITIONS
            sessions = await client.sessions(wire.ListSessions("n"))
            assert [each.path for each in sessions.sessions] == sorted(tree.session for tree in trees)
            with pytest.raises(AccountUnknown):
                await client.usage(wire.GetUsage("session/n/nowhere"))
        spread = [await found.written(server) for server in found.servers]
        assert sorted(number for numbers in spread for number in numbers) == list(range(PARTITIONS))


async def test_an_account_stays_in_the_tree_in_which_it_was_made(cluster: PostgresCluster, tmp_path: Path) -> None:
    async with writers(tmp_path, cluster.address(), count=2) as found:
        first, second, *_ = await trees_in(found, calls=2)
        async with found.client("operator") as operator:
            await operator.remove_account(wire.RemoveAccount(first.agent))
            with pytest.raises(AccountInOtherTree, match=f"Put it under {first.budget}"):
                await operator.put_account(wire.PutAccount(first.agent, parent=second.budget))
            await operator.put_account(wire.PutAccount(first.agent, parent=first.budget))
            inside = wire.Open("session/n/sub", second.session, 3_600_000, agent=first.agent)
            with pytest.raises(AccountInOtherTree, match="or open it with the Agent as its parent"):
                await operator.open(inside)
            itself = wire.Open("session/n/sub", first.agent, 3_600_000)
            assert isinstance(await operator.open(itself), wire.Opened)


async def test_a_hold_with_a_name_is_found_by_who_did_not_make_it(cluster: PostgresCluster, tmp_path: Path) -> None:
    async with writers(tmp_path, cluster.address(), count=2) as found:
        tree = (await trees_in(found, calls=2))[3]
        async with found.client() as one, found.client() as other:
            await one.reserve(wire.Reserve("runtime:n:x", tree.session, ONE, ONE, 3_600_000))
            assert isinstance(await other.settle(wire.Settle("runtime:n:x", ONE)), wire.Settled)
            assert await tree.counted(one) == (1, 0)


async def test_one_is_killed_under_load_and_only_its_trees_pause(cluster: PostgresCluster, tmp_path: Path) -> None:
    async with writers(tmp_path, cluster.address()) as found, found.client() as client:
        calls = 200
        trees = await trees_in(found, calls)
        victim, dead = await busiest(found)
        loading = [asyncio.create_task(tree.calls(client, calls)) for tree in trees]
        await going_on(trees)
        for tree in trees:
            tree.longest_s = 0.0
        before = [tree.settled for tree in trees]
        await victim.kill()
        killed_s = time.monotonic()
        await going_on([tree for tree in trees if tree.partition not in dead])
        counted = [await tree.counted(client) for tree in trees]
        print(f"all of the dead writer's trees answer after {time.monotonic() - killed_s:.2f} s; it had {sorted(dead)}")
        for (spent, held), settled in zip(counted, before, strict=True):
            assert spent >= settled, "an acknowledged settlement was lost"
            assert spent + held <= calls
        await all_of_it(loading, trees, client, calls)
        print("longest call, s:", {tree.partition: round(tree.longest_s, 2) for tree in trees})
        await found.settled([server for server in found.servers if server is not victim])


async def test_one_that_joins_takes_its_share_politely(cluster: PostgresCluster, tmp_path: Path) -> None:
    async with writers(tmp_path, cluster.address(), count=2) as found, found.client() as client:
        calls = 300
        trees = await trees_in(found, calls)
        loading = [asyncio.create_task(tree.calls(client, calls)) for tree in trees]
        await going_on(trees)
        for tree in trees:
            tree.longest_s = 0.0
        await found.join()
        await found.settled(found.servers)
        await all_of_it(loading, trees, client, calls)
        print("longest call, s:", {tree.partition: round(tree.longest_s, 2) for tree in trees})
        for server in found.servers:
            assert "no longer the writer" not in found.log(server), "a partition was taken, not handed over"


async def test_one_that_is_stopped_cleanly_leaves_its_trees_to_the_others(
    cluster: PostgresCluster, tmp_path: Path
) -> None:
    async with writers(tmp_path, cluster.address(), count=2) as found, found.client() as client:
        calls = 200
        trees = await trees_in(found, calls)
        loading = [asyncio.create_task(tree.calls(client, calls)) for tree in trees]
        await going_on(trees)
        leaving, staying = found.servers
        mine = await found.written(leaving)
        assert await leaving.stop() == 0
        held = [cluster.primary.sql(f"SELECT held, epoch FROM {schema_of(number)}.ledger") for number in sorted(mine)]
        assert all(each.startswith("f|") or int(each.split("|")[1]) > 1 for each in held), "a place was not left"
        await all_of_it(loading, trees, client, calls)
        await found.settled([staying])


async def test_one_that_was_stopped_for_longer_than_every_timeout_is_fenced(
    cluster: PostgresCluster, tmp_path: Path
) -> None:
    async with writers(tmp_path, cluster.address(), count=2) as found, found.client() as client:
        calls = 150
        trees = await trees_in(found, calls)
        stopped, mine = await busiest(found)
        (other,) = [server for server in found.servers if server is not stopped]
        loading = [asyncio.create_task(tree.calls(client, calls)) for tree in trees]
        await going_on(trees)
        stopped.process.send_signal(signal.SIGSTOP)
        try:

            async def taken_over() -> bool:
                return await found.written(other) == set(range(PARTITIONS))

            await until(taken_over, "the other writes everything")
            await going_on(trees)
        finally:
            stopped.process.send_signal(signal.SIGCONT)
        await all_of_it(loading, trees, client, calls)
        await found.settled(found.servers)  # it is alive again, and gets its share back
        assert [await tree.counted(client) for tree in trees] == [(calls, 0)] * PARTITIONS
        assert mine <= await found.written(stopped)


DENIED = """
CREATE FUNCTION denied() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN IF session_user = '{role}' THEN RAISE EXCEPTION 'this one may not'; END IF; RETURN NEW; END $$;
CREATE TRIGGER denied BEFORE UPDATE ON {schema}.ledger FOR EACH ROW EXECUTE FUNCTION denied()
"""
"""One of two ledgers cannot write a partition any more, for as long as both live."""


async def test_one_that_cannot_write_a_partition_leaves_it_to_another_that_can(
    cluster: PostgresCluster, tmp_path: Path
) -> None:
    roles = ("one", "two")
    for role in roles:
        cluster.primary.sql(f"CREATE ROLE {role} SUPERUSER LOGIN")
    addresses = [cluster.address().replace("//postgres@", f"//{role}@") for role in roles]
    async with writers(tmp_path, addresses[0], count=1) as found, found.client() as client:
        trees = await trees_in(found, calls=4)
        found.store = addresses[1]
        await found.join()
        await found.settled(found.servers)
        weak = found.choice(0, found.servers)
        (able,) = [server for server in found.servers if server is not weak]
        mine = await found.written(weak)
        cluster.primary.sql(DENIED.format(role=roles[found.servers.index(weak)], schema=schema_of(0)))

        async def is_left() -> bool:
            return 0 in await found.written(able) and await found.written(weak) == mine - {0}

        await until(is_left, "the other writes what this one cannot, and this one the rest of its own")
        assert [await tree.call(client) for tree in trees] == [True] * PARTITIONS
        assert "it cannot write a partition, and leaves it to the others" in found.log(weak)
        assert await is_ready(found.http, weak)


async def test_kills_are_told_by_whoever_writes_and_after_a_takeover_too(
    cluster: PostgresCluster, tmp_path: Path
) -> None:
    async with writers(tmp_path, cluster.address(), count=2) as found, found.client("operator") as client:
        trees = await trees_in(found, calls=1)
        told: dict[str, asyncio.Event] = {tree.session: asyncio.Event() for tree in trees}
        words = asyncio.Event()

        async def listen() -> None:
            async for event in client.events(silence_ms=100, heard=words.set):
                if isinstance(event, wire.SessionKilled):
                    told[event.path].set()

        listening = asyncio.create_task(listen())
        async with asyncio.timeout(HANG_S):
            await words.wait()  # every partition's writer is heard
            for tree in trees[: PARTITIONS // 2]:
                await client.kill(wire.Kill(tree.session, "a test", "nobody"))
                await told[tree.session].wait()
            victim, _ = await busiest(found)
            await victim.kill()
            await client.usage(wire.GetUsage(trees[-1].budget))
            await found.settled([server for server in found.servers if server is not victim])
            words.clear()
            await words.wait()  # and again, all by one
            for tree in trees[PARTITIONS // 2 :]:
                await client.kill(wire.Kill(tree.session, "a test", "nobody"))
                await told[tree.session].wait()
        listening.cancel()


async def test_a_component_that_knows_of_one_writer_is_answered_nothing(
    cluster: PostgresCluster, tmp_path: Path
) -> None:
    async with writers(tmp_path, cluster.address(), count=1) as found:
        put = b'{"ops": [{"op": "putAccount", "path": "budget/n/x"}]}'
        headers = {"Authorization": "Bearer user-operator"}
        async with found.http.post(f"{found.url}/v1/ops", data=put, headers=headers) as response:
            assert response.status == 421
            assert len((await response.json())["writers"]) == PARTITIONS
        async with found.client() as client:
            with pytest.raises(AccountUnknown):
                await client.usage(wire.GetUsage("budget/n/x"))


async def test_a_database_keeps_its_number_of_partitions(cluster: PostgresCluster, tmp_path: Path) -> None:
    async with writers(tmp_path, cluster.address(), count=1):
        pass
    with pytest.raises(UnknownSchema, match=f"made for {PARTITIONS} partitions, and AMBIT_LEDGER_PARTITIONS says 4"):
        PostgresPartitions(cluster.address(), None, 4).lookout()
    with pytest.raises(UnknownSchema, match=f"AMBIT_LEDGER_PARTITIONS={PARTITIONS}"):
        PostgresSource(cluster.address()).open()
    with pytest.raises(UnknownSchema, match="no partition 8"):
        PostgresSource(f"{cluster.address()}#8").read()
    assert cluster.primary.sql("SELECT version FROM ambit_ledger.ledger") == "1002", "a release before would write it"


async def test_every_partition_accepts_the_clock(cluster: PostgresCluster, tmp_path: Path) -> None:
    async with writers(tmp_path, cluster.address(), count=2) as found:
        async with found.client("operator") as operator:
            assert await operator.accept_clock(wire.AcceptClock("it is right", "me")) == wire.ClockAccepted()
        async with found.client("gateway") as gateway:
            with pytest.raises(OperationForbidden):
                await gateway.accept_clock(wire.AcceptClock("it is right", "me"))


async def test_failover_to_a_promoted_standby_while_the_old_primary_lives(
    cluster: PostgresCluster, tmp_path: Path
) -> None:
    await asyncio.to_thread(cluster.add_standby)
    old_primary, standby = cluster.servers
    async with writers(tmp_path, cluster.address(), count=2) as found, found.client() as client:
        calls = 150
        trees = await trees_in(found, calls)
        loading = [asyncio.create_task(tree.calls(client, calls)) for tree in trees]
        await going_on(trees)
        settled = [tree.settled for tree in trees]
        await asyncio.to_thread(standby.promote)
        for tree, before in zip(trees, settled, strict=True):
            spent, _ = await tree.counted(client)
            assert spent >= before, "an acknowledged settlement was lost"
        await all_of_it(loading, trees, client, calls)
        await found.settled(found.servers)
    for number in range(PARTITIONS):
        epochs = [int(at.sql(f"SELECT epoch FROM {schema_of(number)}.ledger")) for at in (old_primary, standby)]
        assert epochs[1] > epochs[0], "an epoch was taken at the old primary"
