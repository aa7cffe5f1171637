"""A ledger process that ends: its last spans leave, and a collector that does not take them keeps it from nothing."""

import socket
from pathlib import Path

from tests.ledger import server
from tests.telemetry.collector import collecting

NEVER = {"OTEL_BSP_SCHEDULE_DELAY": "3600000"}
"""No batch leaves by itself."""


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
