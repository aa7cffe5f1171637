"""The gateway's process is killed under a session: nothing runs on, and what was held is charged."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from ambit.ledger import wire
from ambit.telemetry.reasons import SessionEnd
from tests.gateway_sessions.rig import Rig, a_rig_with_host, events
from tests.gateway_sessions.test_isolate_sessions import TALKS_FOR_EVER
from tests.isolates.host import until

pytestmark = pytest.mark.integration
GATEWAY = "from ambit.cli.main import main; main(['gateway'])"
ADDRESS = f"127.19.0.{os.getpid() % 250 + 1}"
"""Of the gateway that is killed; the rig has one of its own."""


@asynccontextmanager
async def a_gateway_process(folder: Path, ledger_url: str) -> AsyncGenerator[asyncio.subprocess.Process]:
    """`ambit gateway`, as it is deployed."""
    (folder / "ledger-token").write_text("user-gateway")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        GATEWAY,
        env=os.environ
        | {
            "AMBIT_NAMESPACE": "ambit-system",
            "AMBIT_POD_NAME": "gateway-that-is-killed",
            "AMBIT_LEDGER_URL": ledger_url,
            "AMBIT_LEDGER_TOKEN_FILE": str(folder / "ledger-token"),
            "AMBIT_TRUST": str(folder / "trust"),
            "AMBIT_GATEWAY_SIGNER": str(folder / "signer"),
            "AMBIT_GATEWAY_TLS": str(folder / "tls"),
            "AMBIT_PEOPLE_LISTEN": f"{ADDRESS}:8443",
            "AMBIT_SANDBOX_LISTEN": f"{ADDRESS}:8080",
            "AMBIT_ISOLATE_LISTEN": f"{ADDRESS}:8081",
            "AMBIT_HEALTH_LISTEN": f"{ADDRESS}:9090",
        },
        stderr=(folder / "gateway.log").open("wb"),
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_sigkill_of_the_gateway_ends_its_isolate_sessions_and_charges_their_slice(tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    clock.write_text("0")
    async with a_rig_with_host(tmp_path, ledger_environ={"CLOCK_FILE": str(clock)}) as rig:
        await rig.an_isolate_agent("talks", TALKS_FOR_EVER)
        async with a_gateway_process(tmp_path, rig.ledger_url) as gateway:
            session = await _open_through(rig, gateway)
        await until(lambda: _nothing_on_host(rig))
        usage = await rig.usage(session)
        assert (usage.state, len(usage.holds)) == (wire.State.OPEN, 1), "until the slice expires"
        clock.write_text("60000")
        ended = await rig.ended(session)
        assert ended.closed_reason is SessionEnd.ABANDONED
        assert ended.spent.runtime_ms == 30_000


async def _open_through(rig: Rig, gateway: asyncio.subprocess.Process) -> str:
    """Opens a session at the gateway's process, and kills that once output comes."""
    url = f"https://{ADDRESS}:8443/v1/namespaces/{rig.namespace}/agents/talks/sessions"

    async def ready() -> bool:
        assert gateway.returncode is None
        try:
            async with rig.client.get(f"http://{ADDRESS}:9090/readyz") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    await until(ready)
    async with rig.client.post(url, json={}, server_hostname="localhost") as answer:
        assert answer.status == 200, await answer.text()
        stream = events(answer)
        opened = await anext(stream)
        assert (await anext(stream)).name == "output"
        assert await rig.sessions_on_host() == [f"{rig.namespace}/{opened.data['id']}"]
        gateway.send_signal(signal.SIGKILL)
        await gateway.wait()
    session: str = opened.data["id"]
    return session


async def _nothing_on_host(rig: Rig) -> bool:
    return await rig.sessions_on_host() == []
