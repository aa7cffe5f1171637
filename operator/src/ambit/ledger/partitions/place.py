"""One partition, as one ledger has it: followed, or written."""

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from typing import Protocol, TypeVar

from ambit.ledger import changes
from ambit.ledger.dispatch import Answering, Dispatcher
from ambit.ledger.events import Events
from ambit.ledger.journal import BatchesGone, Fenced, JournalError, Reader, Store, UnknownSchema
from ambit.ledger.journal.partitioned import Lookout
from ambit.ledger.journal.shared import SharedSource, Standing
from ambit.ledger.partitions.trouble import LEFT_S, Trouble
from ambit.ledger.replay import Replay, from_snapshot
from ambit.ledger.silence import Silence
from ambit.ledger.term import MakeWriter, Refusals, Term
from ambit.ledger.tree import Tree
from ambit.ledger.writer import Writer
from ambit.telemetry import metrics

BATCHES_AT_ONCE = 256
PAUSE_S = 0.5
"""Between a term, or a reading, that failed and the next."""
log = logging.getLogger(__name__)
T = TypeVar("T")


class InThread(Protocol):
    """Runs what blocks in a thread."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]: ...


MakeStore = Callable[[SharedSource], Store]
MakeGate = Callable[[Writer, int], Answering]


class Place:
    """The partition `number`, kept at `source`. `gate` makes what stands before its writer.

    `reading` is held while a tree is read: each takes a connection, and the processor.
    """

    def __init__(
        self,
        number: int,
        source: SharedSource,
        make_store: MakeStore,
        make_writer: MakeWriter,
        gate: MakeGate,
        reading: asyncio.Semaphore,
    ) -> None:
        self.number = number
        self.dispatcher = Dispatcher()
        self._source = source
        self._make_store = make_store
        self._make_writer = make_writer
        self._gate = gate
        self._reading = reading
        self._replay: Replay | None = None
        self._silence = Silence()
        self._loading: asyncio.Task[None] | None = None
        self._term: asyncio.Task[None] | None = None
        self.writer: Writer | None = None
        """While this ledger is the writer."""
        self._stopping = False
        self.behind: str | None = None
        """Why it cannot be followed; None: it can."""
        self.refusals = Refusals()
        """Why it could not be taken."""
        self.trouble = Trouble()
        self._last_epoch = 0
        """Of this ledger's last term, or the one that it was to follow, where it came to none."""
        self._failed: str | None = None
        """Why its last term came to nothing; None: it did not, or it has been written well since."""
        self.defect: BaseException | None = None
        """What no journal is to blame for: the process has to end of it."""

    @property
    def tree(self) -> Tree | None:
        """As it is known here; None while it is being read."""
        if self.writer is not None:
            return self.writer.tree
        return None if self._replay is None else self._replay.tree

    @property
    def is_written(self) -> bool:
        """Whether this ledger is the writer, or about to be, or on its way out."""
        return self._term is not None

    @property
    def answers(self) -> bool:
        """Whether this ledger is the writer, and its journal has said so lately enough."""
        return self.dispatcher.writer is not None and self.writer is not None and self.writer.is_confirmed()

    # -- following ---------------------------------------------------------
    async def follow(self, standing: Standing, lookout: Lookout, in_thread: InThread) -> None:
        """Takes up what is new, or begins to read the tree where there is none yet. Raises JournalError."""
        if self.is_written:
            self._silence.begin_again()
            return
        self._silence.is_due(standing, _now_s())
        if self._replay is None:
            if self._loading is None:
                self._loading = asyncio.create_task(self._load(), name=f"partition {self.number}: reading")
                self._loading.add_done_callback(self._ended)
            return
        if standing.last <= self._replay.sequence:
            return
        batches = iter(lookout.batches(self.number, self._replay.sequence))
        try:
            while taken := await in_thread(lambda: list(islice(batches, BATCHES_AT_ONCE))):
                for batch in taken:
                    self._replay.take(batch)
                    await asyncio.sleep(0)  # the partitions that are written here have their turns between
            self.behind = None
        except BatchesGone:
            self._replay = None
        except UnknownSchema as error:
            self._fall_behind(error)

    def _fall_behind(self, error: JournalError) -> None:
        if self.behind is None:
            log.warning("a partition cannot be followed", extra={"fields": self._fields(error)})
        self.behind = f"partition {self.number}, which it cannot follow: {error}"

    async def _load(self) -> None:
        try:
            async with self._reading:
                self._replay = await asyncio.to_thread(_read, self._source.read)
            self.behind = None
            gc.freeze()  # full collections of garbage would look at all of it again and again
        except JournalError as error:
            self._fall_behind(error)
            await asyncio.sleep(PAUSE_S)
        finally:
            self._loading = None

    # -- writing -----------------------------------------------------------
    def is_due(self, standing: Standing) -> bool:
        """Whether it can be taken: it is known here, and has no writer."""
        return (
            not self.is_written
            and self._replay is not None
            and self._silence.is_due(standing, _now_s())
            and standing.last <= self._replay.sequence
        )

    def take(self, standing: Standing, events: Events) -> None:
        """Becomes the writer, if nothing has changed since `standing`."""
        replay, self._replay = self._replay, None
        if replay is None:
            return
        self._source.expected = standing
        self._last_epoch = standing.epoch
        self._stopping = False
        self._term = asyncio.create_task(self._write(replay, events), name=f"partition {self.number}: writing")
        self._term.add_done_callback(self._ended)

    async def _write(self, replay: Replay, events: Events) -> None:
        term = Term(self._make_store(self._source), self._make_writer, self.refusals)
        writer = term.writer

        def began() -> Callable[[Sequence[changes.AnyChange]], None]:
            self.writer = writer
            if self._stopping:
                writer.stop()
            else:
                events.resynchronise()  # what the writer before told its listeners ends here
                self.dispatcher.writer = self._gate(writer, self.number)
            return events.publish

        try:
            await term.run(replay, began)
            self._replay = writer.left()
        except JournalError as error:
            self._last_epoch = max(self._last_epoch, writer.epoch)
            if self.refusals.last is None:
                log.warning("no longer the writer", extra={"fields": self._fields(error)})
            self._failed = None if isinstance(error, Fenced) else str(error)  # fenced: another writes it, and well
            self._close()
            gc.unfreeze()  # the tree of this term is garbage
            await asyncio.sleep(PAUSE_S)
        finally:
            self._close()
            self._term = None

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self.defect = task.exception()

    def _close(self) -> None:
        self.writer = self.dispatcher.writer = None

    def hand_over(self) -> None:
        """Takes no more operations, and leaves the place once those taken are on disk."""
        if self._term is None or self._stopping:
            return
        self._stopping = True
        self.dispatcher.writer = None
        if self.writer is not None:
            self.writer.stop()
        metrics.LEDGER_HANDOVERS.inc()

    def leave_if_unable(self, standing: Standing, *, is_mine: bool, others: bool) -> None:
        """Leaves it to others for a while, where this ledger is its choice and cannot write it."""
        if not self.is_written and standing.epoch > self._last_epoch:
            self._failed = None  # another has taken it since, as where this ledger was stopped for long
        tried = (self.is_written and not self._stopping) or self._failed is not None
        gives_up = self.trouble.look(is_mine=is_mine, answers=self.answers, tried=tried, others=others, now_s=_now_s())
        if gives_up:
            cause = "its journal says nothing" if self._failed is None else self._failed
            fields = {"partition": self.number, "cause": cause, "forS": LEFT_S}
            log.error("it cannot write a partition, and leaves it to the others", extra={"fields": fields})
            self.hand_over()
        if gives_up or self.answers:
            self._failed = None

    async def end(self) -> None:
        """Hands over, and waits until it is done."""
        self.hand_over()
        if self._loading is not None:
            self._loading.cancel()
        if self._term is not None:
            await asyncio.wait((self._term,))

    def lag(self, standing: Standing) -> int:
        """How many batches are still to be taken up."""
        if self.is_written:
            return 0
        return standing.last if self._replay is None else max(standing.last - self._replay.sequence, 0)

    def _fields(self, error: JournalError) -> dict[str, object]:
        return {"partition": self.number, "cause": str(error)}


def _read(open_reader: Callable[[], Reader]) -> Replay:
    """The tree as of now. Raises JournalError."""
    reader = open_reader()
    try:
        replay = from_snapshot(reader)
        for batch in reader.batches(replay.sequence):
            replay.take(batch)
        return replay
    finally:
        reader.close()


def _now_s() -> float:
    return asyncio.get_running_loop().time()
