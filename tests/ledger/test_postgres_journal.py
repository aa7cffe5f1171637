"""What is PostgreSQL's alone: whether it is durable, and how its tables become those of a newer release."""

import asyncio
from collections.abc import Generator
from pathlib import Path

import aiohttp
import pytest

from ambit.ledger import wire
from ambit.ledger.journal import Batch, Fenced, JournalError, UnknownSchema, postgres_schema
from ambit.ledger.journal.postgres import PostgresSource
from ambit.ledger.journal.postgres_durability import NotDurable
from ambit.telemetry import metrics
from tests.ledger.postgres_servers import PostgresCluster, postgres
from tests.ledger.replicas import is_ready
from tests.ledger.server import log_of, start

pytestmark = pytest.mark.integration
PLACE = "SELECT version, epoch FROM ambit_ledger.ledger"


@pytest.fixture
def cluster() -> Generator[PostgresCluster]:
    with postgres() as found:
        yield found


def standbys_waited_for() -> float:
    (family,) = metrics.LEDGER_SYNCHRONOUS_STANDBY.collect()
    return family.samples[0].value


@pytest.mark.parametrize("name", ["fsync", "full_page_writes", "synchronous_commit"])
def test_a_server_that_may_lose_what_it_acknowledged_is_refused(cluster: PostgresCluster, name: str) -> None:
    source = PostgresSource(cluster.address())
    source.open().close()
    cluster.primary.sql(f"ALTER SYSTEM SET {name} = off")
    cluster.primary.stop()
    cluster.primary.start()
    with pytest.raises(NotDurable, match=f"{name} = off .*ALTER SYSTEM SET {name} = on"):
        source.open()
    assert cluster.primary.sql(PLACE) == "2|1", "nobody else's place was taken"
    source.read().close()


async def test_a_ledger_over_such_a_server_says_so_and_begins_once_it_is_put_right(
    cluster: PostgresCluster, tmp_path: Path
) -> None:
    cluster.primary.sql("ALTER DATABASE postgres SET synchronous_commit = off")
    server = await start(tmp_path / "ledger", {"STORE": cluster.address()})
    assert server.url
    async with aiohttp.ClientSession() as http, server.client("operator", deadline_s=0.5) as client:
        with pytest.raises(Exception, match="stands by"):
            await client.usage(wire.GetUsage("budget/n/b"))
        async with http.get(f"{server.health_url}/readyz") as answer:
            assert "synchronous_commit = off" in await answer.text()
        cluster.primary.sql("ALTER DATABASE postgres RESET synchronous_commit")
        async with asyncio.timeout(60):
            while not await is_ready(http, server):
                pass
    assert log_of(tmp_path / "ledger").count("it cannot be the writer") == 1, "once, however often it tries"
    await server.kill()


def test_it_is_said_whether_a_second_machine_has_what_was_acknowledged(cluster: PostgresCluster) -> None:
    source = PostgresSource(cluster.address())
    source.open().close()
    assert standbys_waited_for() == 0
    cluster.add_standby()
    source.open().close()
    assert standbys_waited_for() == 1
    cluster.primary.sql("ALTER DATABASE postgres SET synchronous_commit = local")
    source.open().close()
    assert standbys_waited_for() == 0


def test_whoever_takes_the_place_brings_the_tables_up_to_date(
    cluster: PostgresCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = PostgresSource(cluster.address())
    older = source.open()
    follower = source.read()
    older.append(Batch(1, b"older"), ())
    with monkeypatch.context() as newer_release:
        newer_release.setattr(postgres_schema, "VERSION", 3)
        newer_release.setattr(postgres_schema, "UPGRADES", {2: "ALTER TABLE ambit_ledger.ledger ADD COLUMN more text"})
        standby = source.read()
        assert [batch.changes for batch in standby.batches(0)] == [b"older"]
        assert cluster.primary.sql(PLACE) == "2|1", "looking alters nothing: the older release writes"
        standby.close()
        older.append(Batch(2, b"still older"), ())
        newer = source.open()
        newer.append(Batch(3, b"newer"), ())
    assert cluster.primary.sql("SELECT version, epoch, more IS NULL FROM ambit_ledger.ledger") == "3|2|t"
    with pytest.raises(Fenced):
        older.append(Batch(3, b"late"), ())
    for look in (source.open, source.read):
        with pytest.raises(UnknownSchema, match="of version 3, and this release knows up to 2"):
            look()
    newer.append(Batch(4, b"goes on"), ())
    assert cluster.primary.sql(PLACE) == "3|2", "the older release took the place from it"
    follower.close()
    older.close()
    newer.close()


def test_an_upgrade_that_fails_leaves_everything_as_it_was(
    cluster: PostgresCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = PostgresSource(cluster.address())
    older = source.open()
    with monkeypatch.context() as newer_release:
        newer_release.setattr(postgres_schema, "VERSION", 4)
        upgrades = {
            2: "ALTER TABLE ambit_ledger.ledger ADD COLUMN more text",
            3: "ALTER TABLE nowhere ADD COLUMN x text",
        }
        newer_release.setattr(postgres_schema, "UPGRADES", upgrades)
        with pytest.raises(JournalError, match="nowhere"):
            source.open()
    older.append(Batch(1, b"goes on"), ())
    assert cluster.primary.sql("SELECT count(*) FROM information_schema.columns WHERE column_name = 'more'") == "0"
    older.close()
