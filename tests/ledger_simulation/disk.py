"""The ledger's disk: a log of framed batches and a snapshot. It survives processes, and does to writes what disks do.

A write is under way for a while; killed in the midst of it, the disk has nothing of it, all of it, or a torn part. A
torn part is bytes whose checksum is wrong, dropped when the log is next read, as SQLite and PostgreSQL do.
"""

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Generic, NamedTuple, Protocol, TypeVar

from ambit.ledger import snapshot
from ambit.ledger.journal import Batch, BatchesGone, Fenced, JournalError, Snapshot
from ambit.ledger.records import Record, RecordKind
from ambit.ledger.replay import replayed
from tests.ledger_simulation.faults import Faults

F = TypeVar("F")
SYNC_S = 0.001
SLOW_SYNC_S = 4.0
"""Longer than a lease."""
FULL_S = 0.5
FRAME = 4
"""Bytes of the checksum before each batch."""


def framed(data: bytes) -> bytes:
    """A batch as it lies on the disk."""
    return zlib.crc32(data).to_bytes(FRAME, "big") + data


def unframed(frame: bytes) -> bytes | None:
    """The batch of a frame, or None where it is torn."""
    data = frame[FRAME:]
    return data if len(frame) > FRAME and frame[:FRAME] == zlib.crc32(data).to_bytes(FRAME, "big") else None


class Entry(NamedTuple):
    """One commit."""

    sequence: int
    frame: bytes


@dataclass
class Disk(Generic[F]):
    """What is there after every crash. A `Reader` of the journal, as the snapshot's process is."""

    epoch: int = 0
    kept_snapshot: tuple[int, tuple[bytes, ...]] | None = None
    """The last batch it stands for, and the tree."""
    log: list[Entry] = field(default_factory=list[Entry])
    """Since the snapshot; the last entry may be torn."""
    history: list[F] = field(default_factory=list[F])
    """What the oracle knows of every batch ever kept."""
    kept_records: list[Record] = field(default_factory=list[Record])
    full_until_s: float = -1.0
    almost_full: bool = False
    """What is left is reserved for what ends holds."""

    def keep(self, sequence: int, frame: bytes, records: Sequence[Record], facts: F) -> None:
        """A whole batch is on the disk."""
        self.log.append(Entry(sequence, frame))
        self.history.append(facts)
        self.kept_records.extend(records)

    def tear(self, sequence: int, frame: bytes) -> None:
        """Only a part of a batch is on the disk."""
        self.log.append(Entry(sequence, frame))

    def drop_torn(self) -> bool:
        """What a log does when it is next opened. Whether there was something torn."""
        whole = [entry for entry in self.log if unframed(entry.frame) is not None]
        torn = len(whole) < len(self.log)
        self.log = whole
        return torn

    def snapshot(self) -> Snapshot | None:
        return None if self.kept_snapshot is None else Snapshot(self.kept_snapshot[0], iter(self.kept_snapshot[1]))

    def batches(self, after: int) -> Iterator[Batch]:
        """Raises BatchesGone where a snapshot already stands for some of them."""
        if self.kept_snapshot is not None and after < (upto := self.kept_snapshot[0]):
            raise BatchesGone(after + 1, upto + 1)
        for entry in self.log:
            data = unframed(entry.frame)
            if entry.sequence > after and data is not None:
                yield Batch(entry.sequence, data)

    def records(self, kind: RecordKind, path: str | None = None) -> Iterator[Record]:
        return (record for record in self.kept_records if record.kind is kind and path in (None, record.path))

    def write_snapshot(self, upto: int, chunks: Iterable[bytes]) -> None:
        """Keeps a snapshot in the place of the batches that it stands for."""
        self.kept_snapshot = (upto, tuple(chunks))
        self.log = [entry for entry in self.log if entry.sequence > upto]

    def pin(self) -> None:
        """Nothing is written while somebody reads."""

    def close(self) -> None:
        """Nothing is open."""


class Oracle(Protocol[F]):
    """What wants to know which batches were kept."""

    def facts_of(self, batch: Batch) -> F:
        """What the writer is about to journal."""
        ...

    def kept(self, facts: F) -> None:
        """It is on the disk."""
        ...

    def say(self, what: str) -> None:
        """For the trace."""
        ...


class SimulatedStore(Generic[F]):
    """The `Store` that one incarnation of a ledger writes to. Once that is dead, nothing of it reaches the disk."""

    def __init__(self, disk: Disk[F], faults: Faults, random: Random, oracle: Oracle[F]) -> None:
        self._disk = disk
        self._faults = faults
        self._random = random
        self._oracle = oracle
        self._epoch = 0
        self._writing: tuple[int, bytes, Sequence[Record], F] | None = None
        self._dead = False

    async def open(self) -> int:
        """Takes the next epoch: whoever had one before is fenced."""
        await asyncio.sleep(SYNC_S)
        self._alive()
        self._disk.epoch += 1
        self._epoch = self._disk.epoch
        if self._disk.drop_torn():
            self._oracle.say("dropped a torn batch")
        self._oracle.say(f"took epoch {self._epoch}")
        await asyncio.sleep(0)
        return self._epoch

    async def snapshot_upto(self) -> int | None:
        await asyncio.sleep(0)
        return None if self._disk.kept_snapshot is None else self._disk.kept_snapshot[0]

    async def snapshot(self) -> AsyncIterator[bytes]:
        await asyncio.sleep(0)
        if self._disk.kept_snapshot is not None:
            for chunk in self._disk.kept_snapshot[1]:
                yield chunk

    async def batches(self, after: int) -> AsyncIterator[Batch]:
        await asyncio.sleep(0)
        for batch in self._disk.batches(after):
            yield batch

    async def append(self, batch: Batch, records: Sequence[Record]) -> None:
        """Keeps a batch, or raises JournalError, or Fenced. An empty one is a question: who is the writer?"""
        disk, faults, random = self._disk, self._faults, self._random.random
        if not batch.changes:
            await asyncio.sleep(SYNC_S)
            self._fence()
            return
        facts = self._oracle.facts_of(batch)
        self._fence()
        now_s = asyncio.get_running_loop().time()
        if faults.disk_fills and random() < faults.disk_fills:
            self._oracle.say("the disk is full")
            disk.full_until_s = now_s + FULL_S
        if disk.full_until_s >= now_s:
            raise JournalError("the disk is full")
        if faults.append_fails and random() < faults.append_fails:
            raise JournalError("the write failed")
        unknown = bool(faults.append_unknown) and random() < faults.append_unknown
        if unknown and random() < 0.5:
            await asyncio.sleep(SYNC_S)
            raise JournalError("no word of the commit; it was not kept")
        slow = faults.slow_sync and random() < faults.slow_sync
        frame = framed(batch.changes)
        self._writing = (batch.sequence, frame, records, facts)
        await asyncio.sleep(SLOW_SYNC_S * random() if slow else SYNC_S * (0.5 + random()))
        self._writing = None
        self._fence()
        disk.keep(batch.sequence, frame, records, facts)
        self._oracle.kept(facts)
        await asyncio.sleep(0)
        if unknown:
            raise JournalError("no word of the commit; it was kept")

    def settling_only(self) -> bool:
        return self._disk.almost_full

    async def records(self, kind: RecordKind, path: str | None = None) -> AsyncIterator[Record]:
        await asyncio.sleep(0)
        for record in self._disk.records(kind, path):
            yield record

    async def prune(self, kind: RecordKind, before_ms: int) -> bool:
        await asyncio.sleep(SYNC_S)
        self._fence()
        kept = self._disk.kept_records
        self._disk.kept_records = [each for each in kept if each.kind is not kind or each.at_ms >= before_ms]
        return False

    async def replace_snapshot(self, upto: int) -> None:
        """Replays what is committed, as the snapshot's own process does, and puts it in place of the batches."""
        await asyncio.sleep(SYNC_S * 5)
        replay = replayed(self._disk, upto)
        if replay.sequence != upto:
            raise JournalError(f"batch {upto} is not there: the last one is {replay.sequence}")
        state = replay.tree.state
        chunks = list(snapshot.take(state, state.now_ms))
        await asyncio.sleep(SYNC_S)
        self._fence()
        self._oracle.say(f"a snapshot stands for the batches up to {upto}")
        self._disk.write_snapshot(upto, chunks)
        await asyncio.sleep(0)

    async def close(self) -> None:
        await asyncio.sleep(0)

    def die(self) -> None:
        """The process is killed: what is being written is lost, kept or torn."""
        self._dead = True
        if self._writing is None or self._epoch != self._disk.epoch:
            return
        sequence, frame, records, facts = self._writing
        fate = self._random.random()
        if fate < 0.4:
            self._disk.keep(sequence, frame, records, facts)
            self._oracle.say("its last batch was kept")
        elif fate < 0.7:
            self._disk.tear(sequence, frame[: int(len(frame) * self._random.random())])
            self._oracle.say("its last batch was torn")

    def _alive(self) -> None:
        if self._dead:
            raise JournalError("the process is dead")

    def _fence(self) -> None:
        self._alive()
        if self._epoch != self._disk.epoch:
            raise Fenced(f"epoch {self._epoch} is over: {self._disk.epoch} runs")
