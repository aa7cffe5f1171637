"""SIGKILL at any moment and at each step of the journal: nothing acknowledged is lost, nothing is charged twice, and no
bound gives way.

Holders go on through the same client while the ledger dies and comes back, as gateways do. At the end every call has
been acknowledged exactly once, so what is spent must be what was settled, to the last call.
"""

import asyncio
import json
import random
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ambit.ledger import wire
from ambit.ledger.amounts import Amount, Limit, Resource, Window
from ambit.ledger.client import LedgerClient
from tests.ledger.replicas import Replicas
from tests.ledger.server import Server, log_of, running, start

BUDGET, AGENT = "budget/n/b", "agent/n/a"
ONE = Amount(model_calls=1)
HOLDERS = 8
LOAD = Path(__file__).with_name("load_process.py")


def session_of(holder: int) -> str:
    return f"session/n/s-{holder}"


@dataclass
class Load:
    """Holders that call until they are refused or have made `calls`, and what they were told."""

    client: LedgerClient
    calls: int
    granted: int = 0
    settled: int = 0
    refused: int = 0
    progress: asyncio.Event = field(default_factory=asyncio.Event)

    async def holder(self, number: int) -> None:
        for call in range(self.calls):
            hold = f"{number}-{call}"
            reserve = wire.Reserve(hold, session_of(number), ONE, ONE, 3_600_000)
            answer = await self.client.reserve(reserve)
            while isinstance(answer, wire.Wait):  # room is held by another: ask again, as a gateway's queue does
                answer = await self.client.reserve(reserve)
            if isinstance(answer, wire.Refused):
                self.refused += 1
                return
            self.granted += 1
            assert isinstance(await self.client.settle(wire.Settle(hold, ONE)), wire.Settled | wire.AlreadySettled)
            self.settled += 1
            self.progress.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for number in range(HOLDERS):
                tasks.create_task(self.holder(number))


async def prepare(server: Server | Replicas, limit: int) -> None:
    """A Budget that admits `limit` calls, and a session for each holder."""
    async with server.client("operator", deadline_s=60) as operator:
        limits = (Limit(Window.LIFETIME, Resource.MODEL_CALLS, limit),)
        await operator.put_account(wire.PutAccount(BUDGET, limits=limits))
        await operator.put_account(wire.PutAccount(AGENT, parent=BUDGET))
        for number in range(HOLDERS):
            await operator.open(wire.Open(session_of(number), AGENT, grace_ms=3_600_000))


async def counted(server: Server, path: str = BUDGET) -> tuple[int, int]:
    """Calls spent and held."""
    async with server.client() as client:
        usage = await client.usage(wire.GetUsage(path))
    return usage.spent.model_calls, usage.held.model_calls


@pytest.mark.timeout(600)
async def test_sigkill_under_load_again_and_again(tmp_path: Path) -> None:
    data, limit, chance = tmp_path / "data", 400, random.Random(7)
    server = await start(data)
    await prepare(server, limit)
    async with server.client(deadline_s=60) as client:
        load = Load(client, calls=100)
        loading = asyncio.create_task(load.run())
        kills = 0
        while kills < 6:
            load.progress.clear()
            for _ in range(chance.randrange(1, 4)):
                await load.progress.wait()
                load.progress.clear()
            settled = load.settled
            await server.kill()
            server = await start(data, {"COMPACT_AFTER_CHANGES": "40"}, again=server)
            spent, held = await counted(server)
            assert spent >= settled, "an acknowledged settlement was lost"
            assert spent + held <= limit
            kills += 1
        await loading
    assert (load.granted, load.settled, load.refused) == (limit, limit, HOLDERS)
    assert await counted(server) == (limit, 0)
    assert await server.stop() == 0


async def a_holder_process(url: str, name: str, calls: int) -> Counter[str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(LOAD), url, name, session_of(0), str(calls), "3", stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return Counter(json.loads(out))


async def test_kill_9_in_a_loop_under_three_processes_of_holders(tmp_path: Path) -> None:
    data, limit, calls, environ = tmp_path / "data", 200, 80, {"COMPACT_AFTER_CHANGES": "100"}
    server = await start(data, environ)
    await prepare(server, limit)
    holders = asyncio.gather(*(a_holder_process(server.url, f"p{number}", calls) for number in range(3)))
    seen = kills = 0
    while not holders.done():
        spent, held = await counted(server)
        assert spent >= seen, "an acknowledged settlement was lost"
        assert spent + held <= limit
        if spent >= seen + 40:
            await server.kill()
            server = await start(data, environ, again=server)
            seen, kills = spent, kills + 1
    total = sum(await holders, Counter[str]())
    assert total == {"Granted": limit, "Refused": 3 * calls - limit}
    assert await counted(server) == (limit, 0)
    assert kills >= 3
    assert await server.stop() == 0


@pytest.mark.parametrize(
    ("step", "occurrence"),
    [
        ("append: begin", 14),
        ("append: commit", 14),
        ("append: return", 14),
        ("adopt: begin", 1),
        ("adopt: commit", 1),
        ("adopt: return", 1),
        ("adopt: drop snapshots", 1),
    ],
)
async def test_sigkill_at_each_step_of_the_journal(tmp_path: Path, step: str, occurrence: int) -> None:
    data, calls = tmp_path / "data", 5
    environ = {"COMPACT_AFTER_CHANGES": "4"}
    server = await start(data, {**environ, "KILL_BEFORE": f"{step}#{occurrence}"})
    await prepare(server, limit=1000)
    async with server.client(deadline_s=60) as client:
        load = Load(client, calls)
        loading = asyncio.create_task(load.run())
        async with asyncio.timeout(30):
            assert await server.process.wait() == -9
        settled = load.settled
        server = await start(data, environ, again=server)
        spent, _ = await counted(server)
        assert spent >= settled, "an acknowledged settlement was lost"
        await loading
    assert await counted(server) == (HOLDERS * calls, 0)
    assert await counted(server, session_of(3)) == (calls, 0)
    await server.kill()


async def test_what_is_held_is_still_held_after_a_crash(tmp_path: Path) -> None:
    data = tmp_path / "data"
    server = await start(data)
    await prepare(server, limit=2)
    async with server.client() as client:
        await client.reserve(wire.Reserve("h", session_of(0), ONE, ONE, 3_600_000))
    await server.kill()
    async with running(data) as server, server.client() as client:
        assert await counted(server) == (0, 1)
        two = Amount(model_calls=2)
        assert isinstance(await client.reserve(wire.Reserve("g", session_of(1), two, two, 1000)), wire.Wait)
        await client.settle(wire.Settle("h", ONE))
        assert isinstance(await client.reserve(wire.Reserve("g", session_of(1), two, two, 1000)), wire.Refused)


async def test_a_hold_expires_while_the_ledger_is_away(tmp_path: Path) -> None:
    data, clock = tmp_path / "data", tmp_path / "clock"
    clock.write_text("0")
    async with running(data, {"CLOCK_FILE": str(clock)}) as server:
        await prepare(server, limit=2)
        async with server.client() as client:
            await client.reserve(wire.Reserve("h", session_of(0), ONE, ONE, 60_000))
    clock.write_text("60000")
    async with running(data, {"CLOCK_FILE": str(clock)}) as server:
        assert await counted(server) == (1, 0)


async def test_sigterm_ends_it_cleanly_and_loses_nothing(tmp_path: Path) -> None:
    data = tmp_path / "data"
    server = await start(data)
    await prepare(server, limit=1000)
    async with server.client(deadline_s=60) as client:
        load = Load(client, calls=10)
        loading = asyncio.create_task(load.run())
        await load.progress.wait()
        assert await server.stop() == 0
        server = await start(data, again=server)
        await loading
    assert await counted(server) == (HOLDERS * 10, 0)
    assert await server.stop() == 0
    assert "exception" not in log_of(data)
