"""Becoming the writer is a trace of its own, of the ledger that becomes it."""

from collections.abc import Generator
from pathlib import Path

import pytest

from tests.ledger.postgres_servers import PostgresCluster, postgres
from tests.ledger.replicas import replicas
from tests.telemetry.collector import collecting

pytestmark = pytest.mark.integration


@pytest.fixture
def cluster() -> Generator[PostgresCluster]:
    with postgres() as found:
        yield found


async def test_each_takeover_is_traced_with_its_epoch(
    cluster: PostgresCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collecting() as collector:
        for name, value in collector.environ.items():
            monkeypatch.setenv(name, value)
        async with replicas(tmp_path, cluster.address()) as found:
            old = await found.writer()
            await old.kill()
            await found.writer(other_than=old)
            spans = await collector.until(lambda spans: len(spans) >= 2)
    assert [(span.name, span.parent_id, span.attributes["ambit.ledger.epoch"]) for span in spans] == [
        ("ledger takeover", "", 1),
        ("ledger takeover", "", 2),
    ]
