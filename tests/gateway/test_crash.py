"""SIGKILL of a gateway in the middle of a call: its hold expires, and expiry charges it."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import openai
from openai.types.chat import ChatCompletionMessageParam

from ambit.ledger import wire
from ambit.ledger.amounts import Amount
from tests.gateway.gateway_process import HOLD_MS
from tests.gateway.harness import DAY_MS, SIGNER_PEM, a_token
from tests.ledger import server as ledger_server
from tests.model_server.server import running as model_server

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]
SESSION, AGENT, BUDGET = "session/team-x/s-1", "agent/team-x/researcher", "budget/team-x/research"
ROOT = Path(__file__).parents[2]


async def test_a_killed_gateways_hold_is_charged_when_it_expires(tmp_path: Path) -> None:
    (tmp_path / "signer.pem").write_bytes(SIGNER_PEM)
    async with ledger_server.running(tmp_path) as process, model_server() as models, process.client() as ledger:
        async with process.client("operator") as operator:
            await operator.put_account(wire.PutAccount(BUDGET))
            await operator.put_account(wire.PutAccount(AGENT, (), BUDGET))
        await ledger.open(wire.Open(SESSION, AGENT, DAY_MS, (), {"agent": "team-x/researcher"}))
        gateway = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.gateway.gateway_process"),
            *(process.url, models.url, str(tmp_path / "signer.pem")),
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
            stdout=asyncio.subprocess.PIPE,
        )
        assert gateway.stdout is not None
        address = (await gateway.stdout.readline()).decode().strip()
        async with openai.AsyncOpenAI(
            api_key=a_token(SESSION), base_url=f"http://{address}/openai/v1", max_retries=0
        ) as client:
            stream = await client.chat.completions.create(model="endless", messages=HELLO, stream=True, max_tokens=50)
            await anext(aiter(stream))
            # It is kept for longer than it would live by itself, and no longer once its gateway is dead.
            await asyncio.sleep(1.2 * HOLD_MS / 1000)
            held = (await ledger.usage(wire.GetUsage(SESSION))).held
            assert held.model_calls == 1
            gateway.send_signal(signal.SIGKILL)
            await gateway.wait()
        async with asyncio.timeout(HOLD_MS / 1000 + 60):
            while True:
                usage = await ledger.usage(wire.GetUsage(SESSION))
                if not usage.holds:
                    break
                await asyncio.sleep(0.05)
        assert (usage.spent, usage.held) == (held, Amount())
