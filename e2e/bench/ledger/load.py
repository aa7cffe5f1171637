"""One client process: `python -m e2e.bench.ledger.load`, told what to do by one line of JSON on its standard input.

Closed loop: each caller makes its next pair when the last one is done. Open loop (`pairs_per_s`): pairs begin at random
instants whatever becomes of the ones before, and their latency counts from the instant they were due: so it has in it
how late this process was to begin them, which is said apart.
"""

import asyncio
import gc
import random
import sys
import time
from collections.abc import Mapping

import msgspec
import uvloop

from e2e.bench.ledger.systems import Caller, Connect, ours, redis_lua, row_locks
from e2e.bench.machine import LOAD_CORE, pin

SYSTEMS: Mapping[str, Connect] = {"ours": ours.connect, "row-locks": row_locks.connect, "redis": redis_lua.connect}


class Task(msgspec.Struct, frozen=True):
    """What one client process does."""

    system: str
    address: str
    leaves: tuple[int, int]
    """Its sessions: from the first number until before the second."""
    callers: int
    warm_up_s: float
    measured_s: float
    pairs_per_s: float = 0.0
    """Open loop at this rate, where it is not 0."""
    seed: int = 0


class Report(msgspec.Struct, frozen=True):
    """What it saw in the measured time."""

    pairs: int
    reserve_ms: list[float]
    late_ms: list[float]
    """In an open loop: how long after the instant it was due each pair began."""


class Meter:
    """Counts what falls into the measured time."""

    def __init__(self, begins_s: float, ends_s: float) -> None:
        self.begins_s = begins_s
        self.ends_s = ends_s
        self.pairs = 0
        self.reserve_ms: list[float] = []
        self.late_ms: list[float] = []

    def counts(self, instant_s: float) -> bool:
        return self.begins_s <= instant_s < self.ends_s


async def pair(caller: Caller, leaf: int, due_s: float, meter: Meter) -> None:
    """One reserve and its settle."""
    if meter.counts(due_s):
        meter.late_ms.append((time.perf_counter() - due_s) * 1000)
    hold = await caller.reserve(leaf)
    if meter.counts(due_s):
        meter.reserve_ms.append((time.perf_counter() - due_s) * 1000)
    await caller.settle(leaf, hold)
    if meter.counts(time.perf_counter()):
        meter.pairs += 1


async def closed_loop(caller: Caller, task: Task, meter: Meter) -> None:
    async def go_on(number: int) -> None:
        pick = random.Random(task.seed * 1000 + number)
        while (now_s := time.perf_counter()) < meter.ends_s:
            await pair(caller, pick.randrange(*task.leaves), now_s, meter)

    await asyncio.gather(*(go_on(number) for number in range(task.callers)))


async def open_loop(caller: Caller, task: Task, meter: Meter) -> None:
    pick = random.Random(task.seed)
    under_way: set[asyncio.Task[None]] = set()
    due_s = time.perf_counter()
    while due_s < meter.ends_s:
        due_s += pick.expovariate(task.pairs_per_s)
        await asyncio.sleep(max(due_s - time.perf_counter(), 0))
        going = asyncio.create_task(pair(caller, pick.randrange(*task.leaves), due_s, meter))
        under_way.add(going)
        going.add_done_callback(under_way.discard)
    await asyncio.gather(*under_way)


async def main() -> None:
    pin(LOAD_CORE)
    task = msgspec.json.decode(sys.stdin.readline(), type=Task)
    async with SYSTEMS[task.system](task.address) as caller:
        gc.collect()
        gc.freeze()  # what was imported stays: looking through it would be a pause of 40 ms
        begins_s = time.perf_counter() + task.warm_up_s
        meter = Meter(begins_s, begins_s + task.measured_s)
        await (open_loop if task.pairs_per_s else closed_loop)(caller, task, meter)
    print(msgspec.json.encode(Report(meter.pairs, meter.reserve_ms, meter.late_ms)).decode())


if __name__ == "__main__":
    uvloop.run(main())
