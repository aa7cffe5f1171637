"""The simulated disk: what it keeps of a write that a crash cuts, and who may write."""

import asyncio
from random import Random

import pytest

from ambit.ledger.journal import Batch, Fenced, JournalError
from ambit.ledger.records import Record, RecordKind
from tests.ledger_simulation.disk import Disk, SimulatedStore, framed, unframed
from tests.ledger_simulation.faults import Faults
from tests.ledger_simulation.loop import SimulatedLoop

RECORD = Record(RecordKind.AUDIT, 1, "budget/n/b", b"{}")


class Watcher:
    """An oracle that knows a batch by its bytes."""

    def __init__(self) -> None:
        self.seen_kept: list[bytes] = []

    def facts_of(self, batch: Batch) -> bytes:
        return batch.changes

    def kept(self, facts: bytes) -> None:
        self.seen_kept.append(facts)

    def say(self, what: str) -> None:
        del what


def a_store(
    disk: Disk[bytes], faults: Faults | None = None, seed: int = 1
) -> tuple[SimulatedStore[bytes], SimulatedLoop, Watcher]:
    watcher = Watcher()
    store = SimulatedStore(disk, faults or Faults(), Random(seed), watcher)
    return store, SimulatedLoop(Random(seed)), watcher


def test_a_batch_comes_back_as_it_was_and_a_torn_one_does_not() -> None:
    frame = framed(b"changes")
    assert unframed(frame) == b"changes"
    assert [unframed(frame[:length]) for length in range(len(frame))] == [None] * len(frame)


def test_what_was_kept_survives_the_process() -> None:
    disk: Disk[bytes] = Disk()
    store, loop, watcher = a_store(disk)

    async def write() -> None:
        await store.open()
        await store.append(Batch(1, b"one"), [RECORD])
        store.die()

    loop.run(loop.spawn_outside(write()), 100)
    assert [batch.changes for batch in disk.batches(0)] == [b"one"]
    assert list(disk.records(RecordKind.AUDIT)) == [RECORD]
    assert (watcher.seen_kept, disk.history) == ([b"one"], [b"one"])


def test_a_write_that_a_crash_cuts_is_kept_or_lost_or_torn_and_never_half_read() -> None:
    fates: set[tuple[int, int]] = set()
    for seed in range(40):
        disk: Disk[bytes] = Disk()
        store, loop, _ = a_store(disk, seed=seed)

        async def write_and_die(store: SimulatedStore[bytes] = store) -> None:
            await store.open()
            await store.append(Batch(1, b"one"), ())
            asyncio.get_running_loop().create_task(store.append(Batch(2, b"two"), ()))
            await asyncio.sleep(0)
            store.die()

        loop.run(loop.spawn_outside(write_and_die()), 100)
        lying = len(disk.log)
        found = [batch.changes for batch in disk.batches(0)]
        assert found in ([b"one"], [b"one", b"two"])
        assert disk.drop_torn() is (lying > len(found))
        fates.add((lying, len(found)))
    assert fates == {(1, 1), (2, 2), (2, 1)}


def test_a_newer_epoch_fences_the_writer_before() -> None:
    disk: Disk[bytes] = Disk()
    old, loop, _ = a_store(disk)
    new, _, _ = a_store(disk)

    async def take_over() -> None:
        await old.open()
        await new.open()
        with pytest.raises(Fenced):
            await old.append(Batch(1, b"late"), ())
        with pytest.raises(Fenced):
            await old.append(Batch(1, b""), ())
        await new.append(Batch(1, b""), ())

    loop.run(loop.spawn_outside(take_over()), 100)
    assert disk.log == []


def test_a_commit_of_unknown_outcome_is_kept_or_not() -> None:
    kept: set[int] = set()
    for seed in range(20):
        disk: Disk[bytes] = Disk()
        store, loop, _ = a_store(disk, Faults(append_unknown=1.0), seed)

        async def write(store: SimulatedStore[bytes] = store) -> None:
            await store.open()
            with pytest.raises(JournalError, match="no word"):
                await store.append(Batch(1, b"one"), ())

        loop.run(loop.spawn_outside(write()), 100)
        kept.add(len(disk.log))
    assert kept == {0, 1}


def test_a_full_disk_keeps_nothing_until_there_is_room() -> None:
    disk: Disk[bytes] = Disk()
    faults = Faults(disk_fills=1.0)
    store, loop, _ = a_store(disk, faults)

    async def write() -> None:
        await store.open()
        with pytest.raises(JournalError, match="full"):
            await store.append(Batch(1, b"one"), ())
        faults.stop()
        await asyncio.sleep(2.0)
        await store.append(Batch(1, b"one"), ())

    loop.run(loop.spawn_outside(write()), 100)
    assert len(disk.log) == 1
