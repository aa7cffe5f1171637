"""A backup of several partitions, what people see of them, and how a restored ledger goes on."""

import asyncio
import io
import json
from collections.abc import Generator
from pathlib import Path

import pytest

from ambit.ledger import wire
from ambit.ledger.backup import BackupUnusable
from ambit.ledger.client import AccountUnknown
from ambit.ledger.journal.sources import sources_of
from ambit.ledger.partitions import backups
from tests.cli.test_ledger import ambit_ledger
from tests.ledger.postgres_servers import PostgresCluster, postgres
from tests.ledger.spread import ONE, Tree, trees_in
from tests.ledger.writers import PARTITIONS, writers

pytestmark = pytest.mark.integration


@pytest.fixture
def cluster() -> Generator[PostgresCluster]:
    with postgres() as found:
        yield found


async def test_a_backup_has_every_partition_and_a_restored_ledger_is_told_what_was_spent(
    cluster: PostgresCluster, tmp_path: Path
) -> None:
    cluster.primary.sql("CREATE DATABASE other")
    address = cluster.address()
    elsewhere = address.replace("/postgres?", "/other?")
    out = io.BytesIO()
    async with writers(tmp_path, address, count=2) as found:
        trees = await trees_in(found, calls=3)
        async with found.client() as client:
            await asyncio.gather(*(tree.calls(client, 1) for tree in trees))
            contents = backups.write(await asyncio.to_thread(sources_of, address), out)
    assert contents.accounts == 3 * PARTITIONS
    out.seek(0)
    assert await asyncio.to_thread(backups.restore, elsewhere, None, out) == contents
    (tmp_path / "restored").mkdir()
    restored = writers(tmp_path / "restored", elsewhere, count=2)
    async with restored as found, found.client() as client, found.client("operator") as operator:
        refused = await client.hold(trees[0].session, ONE, ONE, 1000)
        assert isinstance(refused, wire.Refused)
        assert refused.reason is wire.RefusalReason.RESTORE_PENDING
        nowhere = wire.SpentSince("session/n/nowhere", ONE)
        with pytest.raises(AccountUnknown):
            await operator.resume(wire.Resume("a restore", "me", (nowhere,)))
        since = tuple(wire.SpentSince(tree.session, ONE) for tree in trees[:3])
        assert await operator.resume(wire.Resume("a restore", "me", since)) == wire.Resumed()
        assert [await tree.counted(client) for tree in trees] == [(2, 0)] * 3 + [(1, 0)] * (PARTITIONS - 3)
    out.seek(0)
    with pytest.raises(BackupUnusable, match="there is a journal already"):
        await asyncio.to_thread(backups.restore, elsewhere, None, out)
    await people_see_every_partition(elsewhere, trees)


async def people_see_every_partition(store: str, trees: list[Tree]) -> None:
    """`ambit ledger` over the store of several partitions."""
    for tree in (trees[0], trees[-1]):
        assert json.loads((await ambit_ledger("inspect", tree.budget, "--store", store)).out)["account"]["path"]
    used = await ambit_ledger("usage", "--by", "team", "--csv", "--store", store)
    assert len(used.out.splitlines()) == 1 + PARTITIONS
    verified = await ambit_ledger("audit", "verify", "--store", store)
    assert (verified.code, len(verified.out.splitlines())) == (0, PARTITIONS)
    of_one = await ambit_ledger("audit", "verify", "--store", f"{store}#3")
    assert of_one.out.strip() == verified.out.splitlines()[3].removeprefix("partition 3: ")
