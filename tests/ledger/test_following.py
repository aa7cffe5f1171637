"""A standby that meets what a newer release wrote: it says so, waits, and never takes the place."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from ambit.ledger import changes, standby
from ambit.ledger.dispatch import Dispatcher
from ambit.ledger.journal import Batch, Journal, Snapshot, Store
from ambit.ledger.journal.shared import Standing
from ambit.ledger.records import Record, RecordKind
from ambit.ledger.term import Committed
from ambit.ledger.terms import Terms
from ambit.ledger.timekeeping import Timekeeper
from ambit.ledger.writer import Writer
from tests.ledger.builders import NOON_MS
from tests.ledger.test_writer import MemoryStore

KNOWN = changes.Codec.encode([changes.RestoreEnded(NOON_MS)])
UNKNOWN = msgspec.msgpack.encode([["of a newer release", NOON_MS]])


class SharedJournal:
    """A journal whose writer has left its place, as source and reader in one; each look at it is counted."""

    address = "memory"

    def __init__(self, *batches: bytes, chunks: tuple[bytes, ...] = ()) -> None:
        self.kept = list(batches)
        self.chunks = chunks
        self.expected: Standing | None = None
        self.taken = asyncio.Event()
        """Set when its follower becomes the writer."""
        self.looks: asyncio.Queue[None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    async def looked_at(self, times: int) -> None:
        for _ in range(times):
            await self.looks.get()

    def open(self) -> Journal:
        raise AssertionError("the store is another one")

    def read(self) -> "SharedJournal":
        return self

    def clock_ms(self) -> int:
        return NOON_MS

    def standing(self) -> Standing:
        self._loop.call_soon_threadsafe(self.looks.put_nowait, None)
        return Standing(1, 1, False, len(self.kept))

    def snapshot(self) -> Snapshot | None:
        return Snapshot(0, iter(self.chunks)) if self.chunks else None

    def batches(self, after: int) -> Iterator[Batch]:
        for number, each in enumerate(self.kept[after:], after + 1):
            yield Batch(number, each)

    def records(self, kind: RecordKind, path: str | None = None) -> Iterator[Record]:
        return iter(())

    def pin(self) -> None:
        pass

    def write_snapshot(self, upto: int, chunks: Iterable[bytes]) -> None:
        raise AssertionError("nobody asks for one")

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standby, "POLL_S", 0.01)


@asynccontextmanager
async def a_ledger_over(journal: SharedJournal) -> AsyncGenerator[Terms]:
    """A ledger's terms over it, which is told to stop in the end."""

    def make_writer(store: Store, committed: Committed) -> Writer:
        journal.taken.set()
        return Writer(store, committed, Timekeeper(lambda: NOON_MS))

    terms = Terms(journal, MemoryStore, make_writer, Dispatcher())
    running = asyncio.create_task(terms.run())
    try:
        yield terms
    finally:
        terms.stop()
        await running


@pytest.mark.parametrize("where", ["batch 2", "the snapshot"])
async def test_what_a_newer_release_wrote_is_waited_for_and_never_taken_over(where: str) -> None:
    journal = SharedJournal(KNOWN, UNKNOWN) if where == "batch 2" else SharedJournal(chunks=(UNKNOWN,))
    async with a_ledger_over(journal) as terms:
        await journal.looked_at(5)
        assert terms.writer is None
        waiting_for = terms.waiting_for()
        assert waiting_for is not None
        assert where in waiting_for
        assert "run the release that wrote it" in waiting_for


async def test_a_standby_that_can_read_on_is_behind_no_more() -> None:
    journal = SharedJournal(KNOWN, UNKNOWN)
    async with a_ledger_over(journal) as terms:
        await journal.looked_at(3)
        assert not journal.taken.is_set()
        journal.kept[1] = KNOWN
        async with asyncio.timeout(60):
            await journal.taken.wait()
        assert terms.writer is not None
