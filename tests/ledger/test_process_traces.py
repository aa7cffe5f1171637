"""What a ledger process traces of itself, and its end: its last spans leave, and no collector keeps it from ending."""

import socket
from pathlib import Path

from ambit.ledger import wire
from tests.ledger import server
from tests.telemetry.collector import collecting

NEVER = {"OTEL_BSP_SCHEDULE_DELAY": "3600000"}
"""No batch leaves by itself."""


async def test_a_start_and_a_snapshot_are_traces_of_their_own(tmp_path: Path) -> None:
    with collecting() as collector:
        environ = {**collector.environ, "COMPACT_AFTER_CHANGES": "1"}
        async with server.running(tmp_path / "ledger", environ) as ledger, ledger.client("operator") as client:
            await client.put_account(wire.PutAccount("budget/team-a/research"))
            spans = await collector.until(lambda spans: any(span.name == "ledger snapshot" for span in spans))
    recovery, snapshot = spans[0], next(span for span in spans if span.name == "ledger snapshot")
    assert (recovery.service, recovery.name, recovery.parent_id) == ("ambit-ledger", "ledger recovery", "")
    assert recovery.attributes == {"ambit.ledger.epoch": 1, "ambit.ledger.accounts": 0}
    assert (snapshot.parent_id, snapshot.failed, set(snapshot.attributes)) == ("", False, {"ambit.ledger.sequence"})


async def test_spans_that_wait_leave_when_the_process_is_told_to_end(tmp_path: Path) -> None:
    with collecting() as collector:
        async with server.running(tmp_path / "ledger", {**collector.environ, **NEVER}) as ledger:
            assert collector.spans == []
            assert await ledger.stop() == 0
        assert [span.name for span in collector.spans] == ["ledger recovery"]


async def test_a_collector_that_says_nothing_does_not_keep_a_process_from_its_end(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        async with server.running(tmp_path / "ledger", environ) as ledger:
            assert await ledger.stop() == 0
        assert "1 spans were not exported" in server.log_of(tmp_path / "ledger")
