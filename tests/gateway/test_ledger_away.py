"""A ledger that is away for less than ten seconds costs waiting, and no error."""

import asyncio
import signal
from pathlib import Path

from openai.types.chat import ChatCompletionMessageParam

from ambit.ledger.client import DEADLINE_S
from tests.gateway import harness
from tests.gateway.harness import calls
from tests.ledger import server as ledger_server

AWAY_S = 8.0
PATIENT_S = 300.0
HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]


async def test_calls_wait_for_a_ledger_that_is_stopped_and_go_on(tmp_path: Path) -> None:
    async with harness.running(tmp_path) as gateway:
        gateway.ledger._deadline_s = PATIENT_S  # type: ignore[reportPrivateUsage] -- how long this takes is the machine's
        tenant = await gateway.tenant(calls(100))
        token = await tenant.open()
        process = gateway.ledger_process.process
        async with tenant.openai(token, max_retries=0) as client:
            process.send_signal(signal.SIGSTOP)
            try:
                waiting = [
                    asyncio.ensure_future(client.chat.completions.create(model="smart", messages=HELLO))
                    for _ in range(20)
                ]
                await asyncio.wait(waiting, timeout=1.0)  # as long as it hangs, nothing is admitted
            finally:
                process.send_signal(signal.SIGCONT)
            for answer in await asyncio.gather(*waiting):
                assert answer.usage is not None
        assert (await tenant.settled()).spent.model_calls == 20


async def test_calls_wait_for_a_ledger_that_is_started_anew(tmp_path: Path) -> None:
    async with harness.running(tmp_path) as gateway:
        gateway.ledger._deadline_s = PATIENT_S  # type: ignore[reportPrivateUsage] -- how long this takes is the machine's
        tenant = await gateway.tenant(calls(100))
        token = await tenant.open()
        async with tenant.openai(token, max_retries=0) as client:
            before = gateway.ledger_process
            await before.kill()
            waiting = [
                asyncio.ensure_future(client.chat.completions.create(model="smart", messages=HELLO)) for _ in range(20)
            ]
            done, _ = await asyncio.wait(waiting, timeout=1.0)
            assert not done
            again = await ledger_server.start(tmp_path, again=before)
            try:
                await asyncio.gather(*waiting)
                assert (await tenant.settled()).spent.model_calls == 20
            finally:
                await again.kill()


def test_the_gateway_waits_for_longer_than_a_ledger_may_be_away() -> None:
    assert DEADLINE_S > AWAY_S
