"""The scheduler: virtual time, processes that die and stop between two awaits, and the same order for the same seed."""

import asyncio
import time
from random import Random

import pytest

from tests.ledger_simulation.loop import Process, SimulatedLoop, StalledError


def a_loop(seed: int = 1, disorder: float = 0.0) -> SimulatedLoop:
    return SimulatedLoop(Random(seed), disorder)


def test_time_passes_only_from_timer_to_timer() -> None:
    loop = a_loop()

    async def sleep_a_year() -> float:
        await asyncio.sleep(365 * 86400.0)
        return loop.time()

    began_s = time.monotonic()
    assert loop.run(loop.spawn_outside(sleep_a_year()), 100) == 365 * 86400.0
    assert time.monotonic() - began_s < 10.0


def test_timeouts_go_by_virtual_time() -> None:
    loop = a_loop()

    async def wait_too_long() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3.0):
                await asyncio.sleep(5.0)
        return loop.time()

    assert loop.run(loop.spawn_outside(wait_too_long()), 100) == 3.0


def order_of_ten(seed: int, disorder: float) -> list[int]:
    loop = a_loop(seed, disorder)
    ran: list[int] = []

    async def run(number: int) -> None:
        await asyncio.sleep(0)
        ran.append(number)

    async def all_ten() -> None:
        await asyncio.gather(*(run(number) for number in range(10)))

    loop.run(loop.spawn_outside(all_ten()), 1000)
    return ran


def test_who_runs_next_is_up_to_the_seed() -> None:
    assert order_of_ten(1, 0.0) == list(range(10))
    assert order_of_ten(1, 0.5) == order_of_ten(1, 0.5)
    assert len({tuple(order_of_ten(seed, 0.5)) for seed in range(20)}) > 10


def test_a_killed_process_runs_not_even_its_finally() -> None:
    loop = a_loop()
    process = Process("p")
    ran: list[str] = []

    async def live() -> None:
        try:
            ran.append("before")
            await asyncio.sleep(1.0)
            ran.append("after")
        finally:
            ran.append("finally")

    async def kill() -> None:
        loop.spawn(process, live())
        await asyncio.sleep(0.5)
        process.alive = False
        await asyncio.sleep(2.0)

    loop.run(loop.spawn_outside(kill()), 100)
    assert ran == ["before"]


def test_a_process_is_killed_at_each_of_its_awaits() -> None:
    reached: list[int] = []
    for step in range(1, 8):
        loop = a_loop()
        process = Process("p")
        count = [0]

        async def live(count: list[int] = count) -> None:
            for _ in range(4):
                count[0] += 1
                await asyncio.sleep(1.0)

        def die(process: Process = process) -> None:
            process.alive = False

        process.kill_at_step, process.killed = step, die
        loop.spawn(process, live())
        loop.run(loop.spawn_outside(asyncio.sleep(10.0)), 100)
        reached.append(count[0])
    assert reached == [1, 1, 2, 2, 3, 3, 4]  # a sleep is two steps: its timer, and the task that it wakes


def test_a_stopped_process_goes_on_where_it_was() -> None:
    loop = a_loop()
    process = Process("p")
    ran: list[float] = []

    async def live() -> None:
        await asyncio.sleep(1.0)
        ran.append(loop.time())

    async def stop() -> None:
        loop.spawn(process, live())
        await asyncio.sleep(0.5)
        process.stopped = True
        await asyncio.sleep(4.5)
        assert ran == []
        loop.resume(process)
        await asyncio.sleep(1.0)

    loop.run(loop.spawn_outside(stop()), 100)
    assert ran == [5.0]


def test_what_belongs_to_the_world_outlives_the_process_that_asked_for_it() -> None:
    loop = a_loop()
    process = Process("p")
    ran: list[str] = []

    async def live() -> None:
        loop.later(1.0, ran.append, "outside")
        loop.call_later(1.0, ran.append, "inside")
        process.alive = False

    loop.spawn(process, live())
    loop.run(loop.spawn_outside(asyncio.sleep(2.0)), 100)
    assert ran == ["outside"]


def test_a_leap_makes_every_timer_late() -> None:
    loop = a_loop()
    seen: list[float] = []

    async def sleep(for_s: float) -> None:
        await asyncio.sleep(for_s)
        seen.append(loop.time())

    async def leap() -> None:
        waiting = asyncio.gather(sleep(1.0), sleep(5.0))
        await asyncio.sleep(0)
        loop.leap(3.0)
        await waiting

    loop.run(loop.spawn_outside(leap()), 100)
    assert seen == [3.0, 5.0]


def test_a_deadlock_is_named() -> None:
    loop = a_loop()
    with pytest.raises(StalledError, match="nothing is ready"):
        loop.run(loop.create_future(), 100)


def test_a_run_without_end_is_named() -> None:
    loop = a_loop()

    async def spin() -> None:
        for _ in range(1_000_000):
            await asyncio.sleep(0)

    with pytest.raises(StalledError, match="no end after 101 steps"):
        loop.run(loop.spawn_outside(spin()), 100)
