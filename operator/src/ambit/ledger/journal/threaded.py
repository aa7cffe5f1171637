"""A `Store` of a blocking journal: one thread writes, another reads for those who ask, a third process snapshots."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from ambit.ledger.journal import Batch, Journal, JournalError, Reader, Source
from ambit.ledger.records import Record, RecordKind
from ambit.telemetry import tracing
from ambit.telemetry.tracing import Attribute, SpanName

AT_ONCE = 256
"""How many batches or records come from a thread at once."""
CHUNKS_AT_ONCE = 4
T = TypeVar("T")
MakeSnapshot = Callable[[int], Awaitable[None]]
"""Writes the snapshot of the tree after a batch, off the writer's core. Raises `JournalError`."""


class ThreadedStore:
    """The `Store` at `source`."""

    def __init__(self, source: Source, make_snapshot: MakeSnapshot) -> None:
        self._source = source
        self._make_snapshot = make_snapshot
        self._journal: Journal | None = None
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._reader: Reader | None = None
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="journal reader")

    async def open(self) -> int:
        self._journal = journal = await _in(self._writing, self._source.open)
        return journal.epoch()

    async def snapshot_upto(self) -> int | None:
        snapshot = await _in(self._writing, self._opened().snapshot)
        return None if snapshot is None else snapshot.upto

    async def snapshot(self) -> AsyncIterator[bytes]:
        snapshot = await _in(self._writing, self._opened().snapshot)
        if snapshot is not None:
            async for chunk in _stepwise(self._writing, snapshot.chunks, CHUNKS_AT_ONCE):
                yield chunk

    async def batches(self, after: int) -> AsyncIterator[Batch]:
        async for batch in _stepwise(self._writing, self._opened().batches(after)):
            yield batch

    async def append(self, batch: Batch, records: Sequence[Record]) -> None:
        await _in(self._writing, lambda: self._opened().append(batch, records))

    def settling_only(self) -> bool:
        return self._opened().settling_only()

    async def records(self, kind: RecordKind, path: str | None = None) -> AsyncIterator[Record]:
        if self._reader is None:
            self._reader = await _in(self._reading, self._source.read)
        reader = self._reader
        try:
            async for record in _stepwise(self._reading, reader.records(kind, path)):
                yield record
        except JournalError:
            # It may be of no use any more; the next who asks gets another.
            if self._reader is reader:
                self._reader = None
                await _in(self._reading, reader.close)
            raise

    async def prune(self, kind: RecordKind, before_ms: int) -> bool:
        return await _in(self._writing, lambda: self._opened().prune(kind, before_ms))

    async def replace_snapshot(self, upto: int) -> None:
        with tracing.span(SpanName.LEDGER_SNAPSHOT) as span:
            span.set(Attribute.SEQUENCE, upto)
            await self._make_snapshot(upto)
            await _in(self._writing, lambda: self._opened().adopt_snapshot(upto))

    async def close(self) -> None:
        journal, self._journal = self._journal, None
        reader, self._reader = self._reader, None
        try:
            if journal is not None:
                await _in(self._writing, journal.close)
            if reader is not None:
                await _in(self._reading, reader.close)
        finally:
            self._writing.shutdown(wait=False)
            self._reading.shutdown(wait=False)

    def _opened(self) -> Journal:
        if self._journal is None:
            raise JournalError("the journal is closed")
        return self._journal


async def _in(thread: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    try:
        result = asyncio.get_running_loop().run_in_executor(thread, work)
    except RuntimeError as error:  # its own word for a thread that was shut down
        raise JournalError("the journal is closed") from error
    return await result


async def _stepwise(thread: ThreadPoolExecutor, items: Iterator[T], at_once: int = AT_ONCE) -> AsyncIterator[T]:
    while taken := await _in(thread, lambda: list(islice(items, at_once))):
        for item in taken:
            yield item
