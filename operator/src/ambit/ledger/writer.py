"""The one writer: applies operations to the tree as they come, and lets no answer out before its changes are on disk.

While one batch is being synced (in a thread, so that the loop goes on), the next one gathers: a commit is shared by all
that waited for it. If a commit fails, memory is ahead of the disk and of no use: every waiter is refused, and the
process ends. The next one replays what the disk has.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from ambit.ledger import snapshot, wire
from ambit.ledger.changes import AnyChange, Codec
from ambit.ledger.journal import Journal, JournalError
from ambit.ledger.tree import Tree
from ambit.telemetry import metrics

COMPACT_AFTER_CHANGES = 50_000
"""How many changes the journal keeps at least before a snapshot stands for them."""


T = TypeVar("T")


class LedgerStopped(Exception):
    """The ledger no longer answers: its journal failed, or it is ending. What was asked may or may not be kept."""


@dataclass(slots=True)
class _Batch:
    done: asyncio.Future[None]
    changes: list[AnyChange] = field(default_factory=list[AnyChange])


class Writer:
    """A tree and its journal. `run` must run for anything to be answered.

    `committed` is told of each batch once it is on disk. `now_ms` is the wall clock.
    """

    def __init__(
        self,
        journal: Journal,
        committed: Callable[[Sequence[AnyChange]], None],
        now_ms: Callable[[], int],
        compact_after_changes: int = COMPACT_AFTER_CHANGES,
    ) -> None:
        self.tree = Tree()
        self._journal = journal
        self._committed = committed
        self._now_ms = now_ms
        self._compact_after_changes = compact_after_changes
        self._changes_since_snapshot = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._wake = asyncio.Event()
        self._gathering = self._new_batch()
        self._committing: _Batch | None = None
        self._stopping = False
        self._failure: BaseException | None = None

    def _new_batch(self) -> _Batch:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.add_done_callback(lambda future: future.cancelled() or future.exception())  # read: nobody may be waiting
        return _Batch(done)

    async def recover(self) -> None:
        """Takes up the tree that the journal has. Raises JournalError."""
        self.tree = await self._in_thread(self._replay)

    def _replay(self) -> Tree:
        image = self._journal.snapshot()
        tree = Tree() if image is None else Tree(snapshot.restore(snapshot.Snapshot.decode(image)))
        for data in self._journal.batches():
            batch = Codec.decode(data)
            tree.replay(batch)
            self._changes_since_snapshot += len(batch)
        return tree

    async def apply(self, component: str, ops: Sequence[wire.AnyOperation]) -> list[wire.AnyResult]:
        """Answers operations in order, once all that they saw or changed is on disk. Raises LedgerStopped."""
        if self._failure is not None or self._stopping:
            raise LedgerStopped("the ledger is stopping") from self._failure
        results: list[wire.AnyResult] = []
        try:
            for op in ops:
                outcome = self.tree.apply(component, op, self._now_ms())
                results.append(outcome.result)
                self._gathering.changes.extend(outcome.changes)
        except BaseException as error:
            self._fail(error)  # half a step may have been taken: the tree is of no use any more
            raise
        seen = self._gathering if self._gathering.changes else self._committing
        if seen is not None:
            self._wake.set()
            await asyncio.shield(seen.done)
        return results

    async def run(self) -> None:
        """Commits until `stop`. Raises what made it fail, after every waiter was refused."""
        try:
            while not (self._stopping and not self._gathering.changes):
                await self._until_something_is_due()
                if self._failure is not None:
                    raise self._failure
                await self._commit()
        except BaseException as error:
            self._fail(error)
            raise
        finally:
            with suppress(JournalError):  # all that was answered is on disk, and the process ends
                await self._in_thread(self._journal.close)
            self._thread.shutdown()

    def stop(self) -> None:
        """Takes no more operations; `run` ends once those taken are on disk."""
        self._stopping = True
        self._wake.set()

    async def _until_something_is_due(self) -> None:
        due_ms = self.tree.next_due_ms()
        timeout_s = None if due_ms is None else max(due_ms - self._now_ms(), 0) / 1000
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._wake.wait()
        self._wake.clear()
        self._gathering.changes.extend(self.tree.advance(self._now_ms()))

    async def _commit(self) -> None:
        batch, self._gathering = self._gathering, self._new_batch()
        if not batch.changes:
            return
        self._committing = batch
        self._changes_since_snapshot += len(batch.changes)
        # Taken now, while the tree is what the journal will have after this batch and nothing gathers yet.
        image = self._snapshot_if_due()
        began_s = time.perf_counter()
        await self._in_thread(lambda: self._journal.append(Codec.encode(batch.changes)))
        metrics.LEDGER_COMMIT_SECONDS.observe(time.perf_counter() - began_s)
        metrics.LEDGER_COMMIT_CHANGES.observe(len(batch.changes))
        self._committing = None
        self._committed(batch.changes)
        batch.done.set_result(None)
        if image is not None:
            await self._in_thread(lambda: self._journal.compact(image))

    def _snapshot_if_due(self) -> bytes | None:
        state = self.tree.state
        # In proportion to the tree, so that snapshots cost each change a constant, however large the tree is.
        if self._changes_since_snapshot < max(self._compact_after_changes, len(state.accounts) + len(state.holds)):
            return None
        self._changes_since_snapshot = 0
        return snapshot.take(state, state.now_ms).encode()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _fail(self, error: BaseException) -> None:
        if self._failure is None:
            self._failure = error
        for batch in (self._committing, self._gathering):
            if batch is not None and not batch.done.done():
                batch.done.set_exception(LedgerStopped("the ledger's journal failed, and it ends"))
        self._wake.set()
