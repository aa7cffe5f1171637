"""The writer over a store that fails: nothing is answered that the journal has not, or not lately enough, confirmed."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from ambit.ledger import pruning, wire, writer
from ambit.ledger.journal import Batch, JournalError
from ambit.ledger.records import KEPT_MS, Record, RecordKind
from ambit.ledger.timekeeping import Timekeeper
from ambit.ledger.writer import LedgerStopped, Writer

PUT = wire.PutAccount("budget/n/b")


class MemoryStore:
    """A store in memory. `pause` holds up what is being appended; `failure` is what becomes of it."""

    def __init__(self) -> None:
        self.kept: list[Batch] = []
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.failure: JournalError | None = None
        self.closed = False

    async def open(self) -> int:
        return 1

    async def snapshot_upto(self) -> int | None:
        return None

    async def snapshot(self) -> AsyncIterator[bytes]:
        for chunk in ():
            yield chunk

    async def batches(self, after: int) -> AsyncIterator[Batch]:
        for batch in self.kept[after:]:
            yield batch

    async def append(self, batch: Batch, records: Sequence[Record]) -> None:
        await self.go_on.wait()
        if self.failure is not None:
            raise self.failure
        if batch.changes:
            self.kept.append(batch)

    def settling_only(self) -> bool:
        return False

    async def records(self, kind: RecordKind, path: str | None = None) -> AsyncIterator[Record]:
        for record in ():
            yield record

    async def prune(self, kind: RecordKind, before_ms: int) -> bool:
        return False

    async def replace_snapshot(self, upto: int) -> None:
        raise JournalError("no snapshots here")

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


async def started(store: MemoryStore) -> tuple[Writer, asyncio.Task[None]]:
    found = Writer(store, lambda _: None, Timekeeper(lambda: 1_000_000))
    await found.recover()
    return found, asyncio.create_task(found.run())


async def ended(running: asyncio.Task[Any]) -> None:
    running.cancel()
    await asyncio.wait([running])


async def test_no_answer_is_out_before_its_batch_is_kept(store: MemoryStore) -> None:
    store.go_on.clear()
    found, running = await started(store)
    asking = asyncio.create_task(found.apply("operator", [PUT]))
    done, _ = await asyncio.wait([asking], timeout=0.1)
    assert not done
    store.go_on.set()
    assert await asking == [wire.AccountPut()]
    assert len(store.kept) == 1
    await ended(running)


async def test_what_waits_while_one_batch_is_kept_shares_the_next(store: MemoryStore) -> None:
    store.go_on.clear()
    found, running = await started(store)
    paths = [f"budget/n/b{number}" for number in range(50)]
    asking = [asyncio.create_task(found.apply("operator", [wire.PutAccount(path)])) for path in paths]
    await asyncio.sleep(0)
    store.go_on.set()
    await asyncio.gather(*asking)
    assert len(store.kept) <= 2
    await ended(running)


async def test_a_commit_of_unknown_outcome_refuses_every_waiter_and_ends_the_writer(store: MemoryStore) -> None:
    store.go_on.clear()
    found, running = await started(store)
    committing = asyncio.create_task(found.apply("operator", [PUT]))
    await asyncio.sleep(0.01)
    gathering = asyncio.create_task(found.apply("operator", [wire.PutAccount("budget/n/c")]))
    seeing = asyncio.create_task(found.apply("operator", [wire.GetUsage("budget/n/b")]))
    await asyncio.sleep(0)
    store.failure = JournalError("no word of the commit")
    store.go_on.set()
    for waiting in (committing, gathering, seeing):
        with pytest.raises(LedgerStopped):
            await waiting
    with pytest.raises(JournalError, match="no word"):
        await running
    with pytest.raises(LedgerStopped):
        await found.apply("operator", [wire.GetUsage("budget/n/b")])
    assert store.closed


async def test_without_the_journals_word_not_even_a_read_is_answered(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, running = await started(store)
    await found.apply("operator", [PUT])
    assert await found.apply("operator", [wire.GetUsage("budget/n/b")])
    store.go_on.clear()  # from now on it hears nothing: another may be the writer
    monkeypatch.setattr(writer, "LEASE_S", -1.0)  # as if it had heard nothing for long
    assert not found.is_confirmed()
    with pytest.raises(LedgerStopped, match="word that it is the writer"):
        await found.apply("operator", [wire.GetUsage("budget/n/b")])
    await ended(running)


class AgingStore(MemoryStore):
    """A store of which the first bite of pruning fails, and the second leaves more to do."""

    def __init__(self) -> None:
        super().__init__()
        self.bites: list[tuple[RecordKind, int]] = []
        self.done = asyncio.Event()

    async def prune(self, kind: RecordKind, before_ms: int) -> bool:
        self.bites.append((kind, before_ms))
        if len(self.bites) == 1:
            raise JournalError("locked")
        if len(self.bites) == 4:
            self.done.set()
        return len(self.bites) == 2


async def test_records_older_than_they_are_kept_are_pruned_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "EVERY_S", 0.0)
    monkeypatch.setattr(pruning, "BETWEEN_BITES_S", 0.0)
    store = AgingStore()
    found, running = await started(store)
    await store.done.wait()
    session, window = ((kind, found.now_ms() - KEPT_MS[kind]) for kind in (RecordKind.SESSION, RecordKind.WINDOW))
    assert store.bites[:4] == [session, session, session, window]
    assert not running.done()
    found.stop()
    await running


async def test_a_writer_whose_machine_slept_answers_nothing_before_it_has_asked(store: MemoryStore) -> None:
    boot_ms = 5_000
    timekeeper = Timekeeper(lambda: 1_000_000, steady_ms=lambda: boot_ms)
    found = Writer(store, lambda _: None, timekeeper)
    await found.recover()
    running = asyncio.create_task(found.run())
    await found.apply("operator", [PUT])
    store.go_on.clear()
    boot_ms += 2_001  # the loop's own clock stood still
    assert not found.is_confirmed()
    with pytest.raises(LedgerStopped, match="word that it is the writer"):
        await found.apply("operator", [wire.GetUsage("budget/n/b")])
    await ended(running)


async def test_a_writer_whose_replay_took_long_answers_nothing_before_it_has_asked(store: MemoryStore) -> None:
    boot_ms = 5_000
    asked = asyncio.Event()

    class Slow(MemoryStore):
        async def append(self, batch: Batch, records: Sequence[Record]) -> None:
            await super().append(batch, records)
            asked.set()

        async def batches(self, after: int) -> AsyncIterator[Batch]:
            nonlocal boot_ms
            boot_ms += 2_001
            async for batch in store.batches(after):
                yield batch

    slow = Slow()
    slow.go_on.clear()
    found = Writer(slow, lambda _: None, Timekeeper(lambda: 1_000_000, steady_ms=lambda: boot_ms))
    await found.recover()
    running = asyncio.create_task(found.run())
    with pytest.raises(LedgerStopped, match="word that it is the writer"):
        await found.apply("operator", [PUT])
    slow.go_on.set()
    await asked.wait()
    assert await found.apply("operator", [PUT]) == [wire.AccountPut()]
    await ended(running)
