"""Where the ledger's time comes from: over restarts of a real process, with a witness, and what looks at it."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from ambit.ledger import timekeeping, wire
from ambit.ledger.amounts import Amount, Limit, Resource, Window
from ambit.ledger.boot import BootNotes
from ambit.ledger.clock import Ahead
from ambit.ledger.exposition import TreeCollector
from ambit.ledger.main import wall_clock_ms
from ambit.ledger.timekeeping import Timekeeper
from ambit.ledger.writer import Writer
from tests.ledger.builders import HOUR_MS, NOON_MS
from tests.ledger.postgres_servers import postgres
from tests.ledger.server import Server, log_of, running
from tests.ledger.test_writer import MemoryStore

DAY_MS, NIGHT_MS = 24 * HOUR_MS, 13 * HOUR_MS
BUDGET, SESSION = "budget/n/b", "session/n/s"
ONE = Amount(model_calls=1)
A_CALL_A_DAY = wire.PutAccount(BUDGET, limits=(Limit(Window.DAY, Resource.MODEL_CALLS, 1),))


async def spend_the_day(server: Server) -> None:
    """One call a Day, and it is spent."""
    async with server.client("operator") as client:
        await client.put_account(A_CALL_A_DAY)
    async with server.client() as client:
        await client.open(wire.Open(SESSION, BUDGET, DAY_MS))
        await client.reserve(wire.Reserve("h", SESSION, ONE, ONE, 60_000))
        await client.settle(wire.Settle("h", ONE))


async def ready(server: Server) -> None:
    """Returns once it is the writer."""
    async with server.client("operator", deadline_s=30) as client:
        await client.sessions(wire.ListSessions("n"))


async def admits(server: Server, hold: str) -> bool:
    """Whether another call is granted; it is given back."""
    async with server.client() as client:
        answer = await client.reserve(wire.Reserve(hold, SESSION, ONE, ONE, 60_000))
        return isinstance(answer, wire.Granted)


async def metric(server: Server, name: str) -> float:
    """One figure of the ledger's metrics."""
    async with aiohttp.ClientSession() as http, http.get(f"{server.health_url}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


async def restarts_with_a_clock_that_is_ahead(data: Path, store: Mapping[str, str]) -> None:
    """A Day is spent; then the ledger starts again and again where it is already tomorrow."""
    clock = data.with_suffix(".clock")
    to_noon_ms = (NOON_MS - wall_clock_ms()) % DAY_MS  # far from the end of a Day, whatever the time is
    clock.write_text(str(to_noon_ms))
    environ = {"CLOCK_FILE": str(clock), **store}
    async with running(data, environ) as server:
        await ready(server)
        await spend_the_day(server)
    clock.write_text(str(to_noon_ms + NIGHT_MS))
    for hold in ("again-1", "again-2"):  # the second time is a crash loop's
        async with running(data, environ) as server:
            await ready(server)
            assert not await admits(server, hold), "the exhausted Day began anew"
            assert await metric(server, "ambit_ledger_clock_doubted ") == 1
            # Whoever looks, looks by the ledger's time, too.
            assert await metric(server, 'ambit_budget_spent{budget="b"') == 1
            assert not await admits(server, f"{hold}-looked-at")
    assert "ambit ledger accept-clock" in log_of(data)
    async with running(data, environ) as server:
        await ready(server)
        async with server.client("operator") as client:
            await client.accept_clock(wire.AcceptClock("it is tomorrow", "ada"))
        assert await admits(server, "accepted")
        assert await metric(server, "ambit_ledger_clock_doubted ") == 0


async def test_a_restart_with_a_clock_that_is_ahead_gives_nothing_back(tmp_path: Path) -> None:
    await restarts_with_a_clock_that_is_ahead(tmp_path / "data", {})


@pytest.mark.integration
async def test_nor_does_one_over_postgres_whose_clock_is_asked(tmp_path: Path) -> None:
    with postgres() as cluster:
        await restarts_with_a_clock_that_is_ahead(tmp_path / "data", {"STORE": cluster.address()})


async def test_without_the_note_of_this_boot_less_is_believed(tmp_path: Path) -> None:
    notes = BootNotes(tmp_path, "this boot")
    assert await notes.load() is None
    await notes.keep(Ahead(5, None))
    assert await BootNotes(tmp_path, "this boot").load() == Ahead(5, None)
    assert await BootNotes(tmp_path, "another boot").load() is None
    (tmp_path / "boot-clock").write_text('{"boot": "this boot", "line')
    assert await notes.load() is None


class Clocks:
    """What the wall clock and the witness show."""

    def __init__(self) -> None:
        self.wall_ms = NOON_MS
        self.witness_ms: int | None = None
        self.asked = 0
        self.moved = asyncio.Event()
        """Set when the witness was asked, or anything journalled."""

    async def witness(self) -> int | None:
        self.asked += 1
        self.moved.set()
        return self.witness_ms


@asynccontextmanager
async def a_writer(clocks: Clocks) -> AsyncGenerator[Writer]:
    """A writer over a store in memory while the block runs; its boot's clock stands still."""
    timekeeper = Timekeeper(lambda: clocks.wall_ms, steady_ms=lambda: 7, witness=clocks.witness)
    found = Writer(MemoryStore(), lambda _: clocks.moved.set(), timekeeper)
    await found.recover()
    writing = asyncio.create_task(found.run())
    try:
        yield found
    finally:
        found.stop()
        await writing


async def until(clocks: Clocks, condition: Callable[[], bool]) -> None:
    """Returns once it is so."""
    async with asyncio.timeout(30):
        while not condition():
            clocks.moved.clear()
            await clocks.moved.wait()


async def test_a_leap_that_a_witness_bears_out_is_believed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timekeeping, "ASK_IN_DOUBT_EVERY_S", 0.01)
    clocks = Clocks()
    async with a_writer(clocks) as found:
        await found.apply("operator", [A_CALL_A_DAY])
        clocks.wall_ms += NIGHT_MS
        await until(clocks, lambda: clocks.asked >= 3)
        assert found.tree.state.clock_doubted, "the witness says nothing"
        assert found.now_ms() == NOON_MS
        clocks.witness_ms = clocks.wall_ms - 1000
        await until(clocks, lambda: not found.tree.state.clock_doubted)
        assert found.now_ms() == clocks.wall_ms


async def test_what_is_shown_to_prometheus_is_of_the_ledgers_time() -> None:
    clocks = Clocks()
    async with a_writer(clocks) as found:
        opened = wire.Open(SESSION, BUDGET, DAY_MS)
        hold, used = wire.Reserve("h", SESSION, ONE, ONE, 60_000), wire.Settle("h", ONE)
        await found.apply("operator", [A_CALL_A_DAY])
        await found.apply("gateway", [opened, hold, used])
        clocks.wall_ms += NIGHT_MS
        collector = TreeCollector(lambda: ((found.tree, found.now_ms()),))
        samples = [sample for family in collector.collect() for sample in family.samples]
        assert [sample.value for sample in samples if sample.name == "ambit_budget_spent"] == [1]
        (again,) = await found.apply("gateway", [wire.Reserve("h-2", SESSION, ONE, ONE, 60_000)])
        assert isinstance(again, wire.Refused), "looking at it began another Day"


async def test_a_witness_that_breaks_down_ends_the_writer() -> None:
    async def defect() -> int | None:
        raise ZeroDivisionError

    wall_ms = NOON_MS
    timekeeper = Timekeeper(lambda: wall_ms, steady_ms=lambda: 7, witness=defect)
    found = Writer(MemoryStore(), lambda _: None, timekeeper)
    await found.recover()
    writing = asyncio.create_task(found.run())
    await found.apply("operator", [A_CALL_A_DAY])
    wall_ms += NIGHT_MS
    with pytest.raises(ZeroDivisionError):
        await writing
