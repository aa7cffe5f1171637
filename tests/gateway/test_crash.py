"""SIGKILL of a gateway in the middle of a call: its hold expires, and expiry charges it."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import openai
from openai.types.chat import ChatCompletionMessageParam

from ambit.ledger import wire
from ambit.ledger.amounts import Amount
from ambit.ledger.client import LedgerClient
from tests.gateway.gateway_process import HOLD_MS
from tests.gateway.harness import DAY_MS, SIGNER_PEM, a_token
from tests.ledger import server as ledger_server
from tests.model_server.server import ModelServer
from tests.model_server.server import running as model_server

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]
SESSION, AGENT, BUDGET = "session/team-x/s-1", "agent/team-x/researcher", "budget/team-x/research"
ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def a_gateway(folder: Path) -> AsyncGenerator[tuple[Process, openai.AsyncOpenAI, LedgerClient, ModelServer]]:
    """A gateway in a process of its own, whose client has a session of the Agent; a ledger, and the model server."""
    (folder / "signer.pem").write_bytes(SIGNER_PEM)
    async with ledger_server.running(folder) as process, model_server() as models, process.client() as ledger:
        async with process.client("operator") as operator:
            await operator.put_account(wire.PutAccount(BUDGET))
            await operator.put_account(wire.PutAccount(AGENT, (), BUDGET))
        await ledger.open(wire.Open(SESSION, AGENT, DAY_MS, (), {"agent": "team-x/researcher"}))
        gateway = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.gateway.gateway_process"),
            *(process.url, models.url, str(folder / "signer.pem")),
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
            stdout=asyncio.subprocess.PIPE,
        )
        assert gateway.stdout is not None
        address = (await gateway.stdout.readline()).decode().strip()
        base_url = f"http://{address}/openai/v1"
        async with openai.AsyncOpenAI(api_key=a_token(SESSION), base_url=base_url, max_retries=0) as client:
            yield gateway, client, ledger, models


async def killed(gateway: Process, ledger: LedgerClient) -> wire.Usage:
    """The session's usage once the gateway was killed, and nothing is held any more."""
    gateway.send_signal(signal.SIGKILL)
    await gateway.wait()
    async with asyncio.timeout(HOLD_MS / 1000 + 60):
        while True:
            usage = await ledger.usage(wire.GetUsage(SESSION))
            if not usage.holds:
                return usage
            await asyncio.sleep(0.05)


async def test_a_killed_gateways_hold_is_charged_when_it_expires(tmp_path: Path) -> None:
    async with a_gateway(tmp_path) as (gateway, client, ledger, _):
        stream = await client.chat.completions.create(model="endless", messages=HELLO, stream=True, max_tokens=50)
        await anext(aiter(stream))
        # It is kept for longer than it would live by itself, and no longer once its gateway is dead.
        await asyncio.sleep(1.2 * HOLD_MS / 1000)
        held = (await ledger.usage(wire.GetUsage(SESSION))).held
        assert held.model_calls == 1
        usage = await killed(gateway, ledger)
        assert (usage.spent, usage.held) == (held, Amount())


async def test_of_a_gateway_that_is_killed_in_a_second_attempt_both_are_charged_and_the_call_once(
    tmp_path: Path,
) -> None:
    async with a_gateway(tmp_path) as (gateway, client, ledger, models):
        stream = await client.chat.completions.create(model="spared", messages=HELLO, stream=True, max_tokens=50)
        await anext(aiter(stream))
        before = await ledger.usage(wire.GetUsage(SESSION))
        assert before.spent.usd_nanos > 0, "the first attempt was answered 503, and is charged already"
        usage = await killed(gateway, ledger)
        assert (usage.spent, usage.held) == (before.spent + before.held, Amount())
        assert usage.spent.output_tokens == 2 * 50
        assert usage.spent.usd_nanos == 3 * usage.spent.tokens // 2 * 1000, "half of it at the dearer backend's price"
        assert (usage.spent.model_calls, len(models.received)) == (1, 2)
