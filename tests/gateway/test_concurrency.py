"""Three gateway processes against one Budget: 10,000 calls at once where 1,000 are admitted."""

import asyncio
import json
import os
import sys
from collections import Counter
from pathlib import Path

import pytest

from ambit.gateway.admitting import Admitting
from ambit.gateway.identity.session_directory import Session
from ambit.gateway.models.wire_format import RefusedCall
from ambit.ledger import wire
from ambit.ledger.amounts import Amount, Limit, Resource, Window
from tests.gateway.admission_process import AGENT, ONE
from tests.ledger.server import Server, running

ROOT = Path(__file__).parents[2]
BUDGET = "budget/n/b"
PROCESSES, SESSIONS_EACH, CALLS, ADMITTED = 3, 20, 10_000, 1_000
HOUR_MS = 3_600_000
OURS = Session("session/n/ours", AGENT, None, None)


async def a_process(server: Server, number: int, calls: int, hold_ahead: str) -> asyncio.subprocess.Process:
    """A gateway process that has made its first calls and is ready for the rest."""
    sessions = [f"session/n/{number}-{each}" for each in range(SESSIONS_EACH)]
    async with server.client() as client:
        await asyncio.gather(*(client.open(wire.Open(session, AGENT, HOUR_MS)) for session in sessions))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.gateway.admission_process"),
        *(server.url, ",".join(sessions), str(calls), "1", hold_ahead),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    return process


async def outcomes(process: asyncio.subprocess.Process) -> Counter[str]:
    """Lets it make its calls; what became of them."""
    said, _ = await process.communicate(b"go\n")
    assert process.returncode == 0
    return Counter(json.loads(said))


@pytest.mark.parametrize("hold_ahead", ["On", "Off"])
async def test_of_10000_calls_at_once_exactly_as_many_are_admitted_as_there_is_room_for(
    tmp_path: Path, hold_ahead: str
) -> None:
    async with running(tmp_path / "data") as server, server.client("operator") as operator:
        first_calls = PROCESSES * SESSIONS_EACH
        limit = Limit(Window.LIFETIME, Resource.MODEL_CALLS, first_calls + ADMITTED)
        await operator.put_account(wire.PutAccount(BUDGET, (limit,)))
        await operator.put_account(wire.PutAccount(AGENT, (), BUDGET))
        shares = [CALLS // PROCESSES] * (PROCESSES - 1)
        shares.append(CALLS - sum(shares))
        processes = [await a_process(server, number, calls, hold_ahead) for number, calls in enumerate(shares)]
        await operator.open(wire.Open(OURS.path, AGENT, HOUR_MS))
        async with server.client() as client:
            ours = Admitting.over(client, hold_expires_in_ms=HOUR_MS, hold_ahead=False)
            gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            # One of the thousand is ours and goes on for as long as the storm lasts.
            kept = await ours.admission.hold(OURS, ONE, ONE, gone)
            counts = sum(await asyncio.gather(*map(outcomes, processes)), Counter[str]())
            assert counts["admitted"] == ADMITTED - 1
            assert counts["admitted"] + counts["429 RoomHeld"] == CALLS, counts
            usage = await client.usage(wire.GetUsage(BUDGET))
            spent = Amount(model_calls=first_calls + ADMITTED - 1)
            assert (usage.spent, usage.held) == (spent, ONE), "nothing is left held ahead"

            # It settles lower than it held, and of two calls that wait for that exactly one is admitted.
            waiting = [asyncio.create_task(ours.admission.hold(OURS, ONE, ONE, gone)) for _ in range(2)]
            while True:
                if ours.queue.waiting == 2:
                    break
                await asyncio.sleep(0.001)
            ours.settlements.settle(OURS.path, kept.id, Amount())
            admitted, still_waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            assert (len(admitted), len(still_waiting)) == (1, 1)
            ours.settlements.settle(OURS.path, admitted.pop().result().id, ONE)
            with pytest.raises(RefusedCall) as refused:
                await still_waiting.pop()
            assert (refused.value.status, refused.value.reason) == (402, "LimitExceeded")
            usage = await client.usage(wire.GetUsage(BUDGET))
            assert (usage.spent, usage.held) == (Amount(model_calls=first_calls + ADMITTED), Amount())
