"""The one writer: applies operations to the tree as they come, and lets no answer out before its changes are on disk.

While one batch is being synced, the next one gathers: a commit is shared by all that waited for it. If a commit fails,
memory is ahead of the disk and of no use: every waiter is refused, and this writer is over. The next one takes a new
epoch and replays what the disk has.

asyncio alone: no thread, no clock and no chance of its own, so that a simulation can run it.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from ambit.ledger import left, wire
from ambit.ledger.changes import AnyChange, Codec
from ambit.ledger.history import SessionUsage, sessions_of, windows_of
from ambit.ledger.journal import Batch, JournalError, Store
from ambit.ledger.pruning import prune
from ambit.ledger.records import Record, RecordKind
from ambit.ledger.replay import Replay
from ambit.ledger.timekeeping import Timekeeper
from ambit.ledger.tree import Facts, Outcome, Tree
from ambit.telemetry import metrics, tracing
from ambit.telemetry.tracing import SpanName

COMPACT_AFTER_CHANGES = 50_000
"""How many changes the journal keeps at least before a snapshot stands for them."""
HEARTBEAT_S = 0.5
"""How often an idle writer asks the journal whether it still is the writer."""
LEASE_S = 2.0
"""How long a writer answers without the journal's word that it still is the writer. A standby waits for longer."""
SNAPSHOT_PAUSE_S = 30.0
"""How long after a snapshot that could not be made the next one is tried."""
log = logging.getLogger(__name__)


class LedgerStopped(Exception):
    """The ledger no longer answers: its journal failed, or it is ending. What was asked may or may not be kept."""


@dataclass(slots=True)
class _Gathering:
    waiting: list[asyncio.Future[None]] = field(default_factory=list[asyncio.Future[None]])
    """Those whose answers these changes hold up."""
    changes: list[AnyChange] = field(default_factory=list[AnyChange])
    records: list[Record] = field(default_factory=list[Record])
    left: dict[str, SessionUsage] = field(default_factory=dict[str, SessionUsage])
    """Sessions that these changes fold, by their paths: their records are not on disk yet."""

    def add(self, facts: Outcome | Facts) -> None:
        self.changes.extend(facts.changes)
        if facts.records:
            self.records.extend(facts.records)
            self.left.update({each.path: each for each in sessions_of(facts.records)})

    def kept(self) -> asyncio.Future[None]:
        """Done once all of it is on disk. For one waiter, who may go away."""
        waiting = asyncio.get_running_loop().create_future()
        self.waiting.append(waiting)
        return waiting

    def end(self, failure: str | None = None) -> None:
        """It is on disk, or has failed."""
        for waiting in self.waiting:
            if waiting.done():
                continue
            if failure is None:
                waiting.set_result(None)
            else:
                waiting.set_exception(LedgerStopped(failure))


class Writer:
    """A tree and its store. `recover` comes first; `run` must run for anything to be answered.

    `committed` is told of each batch once it is on disk.
    """

    def __init__(
        self,
        store: Store,
        committed: Callable[[Sequence[AnyChange]], None],
        timekeeper: Timekeeper,
        compact_after_changes: int = COMPACT_AFTER_CHANGES,
    ) -> None:
        self.tree = Tree()
        self.epoch = 0
        self._store = store
        self._committed = committed
        self._timekeeper = timekeeper
        self._compact_after_changes = compact_after_changes
        self._changes_since_snapshot = 0
        self._sequence = 0
        self._wake = asyncio.Event()
        self._gathering = _Gathering()
        self._committing: _Gathering | None = None
        self._snapshot: asyncio.Task[None] | None = None
        self._confirmed_ms = float("-inf")
        self._stopping = False
        self._failure: BaseException | None = None

    async def recover(self, known: Replay | None = None) -> None:
        """Becomes the one writer and takes up the tree that the journal has. Raises JournalError.

        `known`: what a standby has already replayed; the rest is taken up from there.
        """
        began_s, asked_ms = self._now_s(), self._timekeeper.steady_ms()
        self.epoch = await self._store.open()
        replay = known
        if replay is None:
            upto = await self._store.snapshot_upto()
            replay = Replay(upto or 0, [chunk async for chunk in self._store.snapshot()])
        async for batch in self._store.batches(replay.sequence):
            replay.take(batch)
        await self._timekeeper.begin(replay.tree.state)
        self.tree, self._sequence, self._changes_since_snapshot = replay.tree, replay.sequence, replay.changes
        self._confirmed_ms = asked_ms  # the replay may have taken for so long that another took over
        self._wake.set()  # so that the first commit asks at once
        metrics.LEDGER_REPLAY_SECONDS.set(self._now_s() - began_s)
        metrics.LEDGER_EPOCH.set(self.epoch)

    async def apply(self, component: str, ops: Sequence[wire.AnyOperation]) -> list[wire.AnyResult]:
        """Answers operations in order, once all that they saw or changed is on disk. Raises LedgerStopped."""
        self._may_answer()
        known: left.Known = {}
        while unknown := left.unknown(ops, self.tree.state, known):  # again: meanwhile others may have left the tree
            for session in unknown:
                known[session] = await self._look_up(session)
            self._may_answer()
        results: list[wire.AnyResult] = []
        try:
            now_ms, settling_only = self._read_clock(), self._store.settling_only()
            results.extend(self._apply(component, op, now_ms, known, settling_only) for op in ops)
        except BaseException as error:
            self._fail(error)  # half a step may have been taken: the tree is of no use any more
            raise
        seen = self._gathering if self._gathering.changes else self._committing
        if seen is not None:
            self._wake.set()
            with tracing.part(SpanName.LEDGER_COMMIT):
                await seen.kept()
        return results

    def _may_answer(self) -> None:
        if self._failure is not None or self._stopping:
            raise LedgerStopped("the ledger is stopping") from self._failure
        if not self.is_confirmed():
            # Stopped for long, or the journal is slow: another may be the writer by now, and know better.
            raise LedgerStopped("the ledger waits for its journal's word that it is the writer")

    def _apply(
        self, component: str, op: wire.AnyOperation, now_ms: int, known: left.Known, settling_only: bool
    ) -> wire.AnyResult:
        if self._gathering.left:
            known = {**known, **self._gathering.left}  # what an operation before this one has folded
        if not known:  # as nearly always: nobody asks for what has left the tree
            outcome = self.tree.apply(component, op, now_ms, settling_only=settling_only)
            self._gathering.add(outcome)
            return outcome.result
        over = left.instead(op, self.tree.state, known, now_ms)
        if over is not None:
            return over
        outcome = self.tree.apply(component, op, now_ms, settling_only=settling_only)
        self._gathering.add(outcome)
        return left.known_better(op, outcome.result, known, now_ms)

    async def _look_up(self, session: str) -> SessionUsage | None:
        """How a session ended that the tree does not know, where it was one. Raises LedgerStopped."""
        began_s = self._now_s()
        for gathered in (self._gathering, self._committing):
            if gathered is not None and session in gathered.left:
                return gathered.left[session]
        records = await self._records(RecordKind.SESSION, session)
        if self._now_s() - began_s > LEASE_S:
            # Long enough for others to have opened and closed it, and for it to have left the tree since.
            raise LedgerStopped("the journal's records are slow")
        return next(iter(sessions_of(records)), None)

    async def _records(self, kind: RecordKind, path: str) -> list[Record]:
        try:
            return [each async for each in self._store.records(kind, path)]
        except JournalError as error:
            raise LedgerStopped(f"the journal cannot be read: {error}") from error

    async def history(self, op: wire.GetHistory) -> wire.History:
        """What an account spent in the windows that ended, from what is on disk. Raises LedgerStopped."""
        return wire.History(windows_of(await self._records(RecordKind.WINDOW, op.path), op.window))

    def now_ms(self) -> int:
        """The ledger's time when it last looked, at most `HEARTBEAT_S` ago."""
        return self._timekeeper.now_ms

    def is_confirmed(self) -> bool:
        """Whether the journal has said lately enough that this is the writer: only then is anything answered."""
        return self._timekeeper.steady_ms() - self._confirmed_ms <= LEASE_S * 1000

    async def run(self) -> None:
        """Commits until `stop`. Raises what made it fail, after every waiter was refused."""
        beside = (
            asyncio.create_task(self._timekeeper.run(self.tree.state), name="ledger time"),
            asyncio.create_task(prune(self._store, self.now_ms), name="ledger pruning"),
        )
        for task in beside:
            task.add_done_callback(self._ended_beside)
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
            for task in beside:
                task.cancel()
            await self._end()

    def left(self) -> Replay:
        """What it leaves behind once `run` has ended without a failure: the tree as the journal has it."""
        return Replay.of(self.tree, self._sequence, self._changes_since_snapshot)

    def stop(self) -> None:
        """Takes no more operations; `run` ends once those taken are on disk."""
        self._stopping = True
        self._wake.set()

    async def _until_something_is_due(self) -> None:
        due_ms = self.tree.next_due_ms()
        timeout_s = HEARTBEAT_S if due_ms is None else min(max(due_ms - self._read_clock(), 0) / 1000, HEARTBEAT_S)
        timer = asyncio.get_running_loop().call_later(timeout_s, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            timer.cancel()
        self._wake.clear()
        self._gathering.add(self.tree.advance(self._read_clock()))

    async def _commit(self) -> None:
        gathered, self._gathering = self._gathering, _Gathering()
        changes = gathered.changes
        began_s, asked_ms = self._now_s(), self._timekeeper.steady_ms()
        if not changes:  # then it asks whether this still is the writer, and keeps what records there are
            await self._store.append(Batch(self._sequence + 1, b""), gathered.records)
            self._confirmed_ms = asked_ms
            return
        self._committing = gathered
        self._sequence += 1
        await self._store.append(Batch(self._sequence, Codec.encode(changes)), gathered.records)
        self._confirmed_ms = asked_ms
        metrics.LEDGER_COMMIT_SECONDS.observe(self._now_s() - began_s)
        metrics.LEDGER_COMMIT_CHANGES.observe(len(changes))
        self._committing = None
        self._committed(changes)
        gathered.end()
        self._changes_since_snapshot += len(changes)
        metrics.LEDGER_SNAPSHOT_CHANGES.set(self._changes_since_snapshot)
        metrics.LEDGER_SETTLING_ONLY.set(self._store.settling_only())
        self._snapshot_if_due()

    def _snapshot_if_due(self) -> None:
        state = self.tree.state
        # In proportion to the tree, so that snapshots cost each change a constant, however large the tree is.
        due = self._changes_since_snapshot >= max(self._compact_after_changes, state.size)
        if due and self._snapshot is None:
            self._snapshot = asyncio.create_task(self._make_snapshot(), name="ledger snapshot")

    async def _make_snapshot(self) -> None:
        upto, counted, began_s = self._sequence, self._changes_since_snapshot, self._now_s()
        try:
            await self._store.replace_snapshot(upto)
        except JournalError as error:
            # The journal only grows meanwhile. Where it is this writer that is over, its next commit says so.
            metrics.LEDGER_SNAPSHOTS.labels("Failed").inc()
            log.warning("no snapshot", extra={"fields": {"upto": upto, "cause": str(error)}})
            await asyncio.sleep(SNAPSHOT_PAUSE_S)
        else:
            self._changes_since_snapshot -= counted
            metrics.LEDGER_SNAPSHOTS.labels("Made").inc()
            metrics.LEDGER_SNAPSHOT_SECONDS.observe(self._now_s() - began_s)
            log.info("snapshot", extra={"fields": {"upto": upto, "changes": counted}})
        finally:
            self._snapshot = None

    def _ended_beside(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._fail(error)

    async def _end(self) -> None:
        if self._snapshot is not None:
            self._snapshot.cancel()
            with suppress(asyncio.CancelledError):
                await self._snapshot
        with suppress(JournalError):  # all that was answered is on disk, and this writer is over
            await self._store.close()

    def _read_clock(self) -> int:
        """The ledger's time. A doubt of the wall clock is journalled."""
        reading = self._timekeeper.read(self.tree.state)
        self._gathering.changes.extend(reading.changes)
        return reading.now_ms

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()

    def _fail(self, error: BaseException) -> None:
        if self._failure is None:
            self._failure = error
        for gathered in (self._committing, self._gathering):
            if gathered is not None:
                gathered.end("the ledger's journal failed, and it ends")
        self._wake.set()
