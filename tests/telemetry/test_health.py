"""The health listener says what a process waits for, and serves its metrics."""

import json
import logging

import aiohttp
import pytest

from ambit.telemetry import health
from ambit.telemetry.logs import JsonFormatter


async def test_readiness_names_what_is_missing_and_turns_green() -> None:
    waiting_for: list[str] = ["the ledger"]
    async with (
        health.serve("127.0.0.1:0", lambda: waiting_for[0] if waiting_for else None) as address,
        aiohttp.ClientSession(f"http://{address}") as client,
    ):
        async with client.get("/readyz") as answer:
            assert (answer.status, await answer.text()) == (503, "not ready: the ledger\n")
        async with client.get("/healthz") as answer:
            assert answer.status == 200
        waiting_for.clear()
        async with client.get("/readyz") as answer:
            assert answer.status == 200


async def test_metrics_are_served_in_prometheus_text_format() -> None:
    async with (
        health.serve("127.0.0.1:0", lambda: None) as address,
        aiohttp.ClientSession(f"http://{address}") as client,
        client.get("/metrics") as answer,
    ):
        assert "process_cpu_seconds_total" in await answer.text()


@pytest.mark.parametrize("listen", ["9090", ":9090", "host:", "host:http"])
def test_a_wrong_address_says_what_to_write_instead(listen: str) -> None:
    with pytest.raises(ValueError, match=r"write HOST:PORT, for example 0\.0\.0\.0:9090"):
        health.split_address(listen)


def test_a_log_record_is_one_line_of_json_with_its_fields() -> None:
    record = logging.makeLogRecord(
        {"name": "ambit.x", "levelname": "INFO", "msg": "held %d", "args": (3,), "fields": {"session": "s-1"}}
    )
    line = json.loads(JsonFormatter("gateway").format(record))
    assert (line["message"], line["component"], line["session"]) == ("held 3", "gateway", "s-1")
