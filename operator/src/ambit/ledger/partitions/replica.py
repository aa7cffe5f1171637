"""A ledger among several: follows every partition, and writes those of which it is the first choice of all alive.

Every fifth of a second it looks at the store: who is alive, and how each partition's writer stands. A partition of
which it is no longer the first choice it hands over: it takes no more operations, commits, and leaves the place, which
the next one sees at its next look. One whose writer is gone it takes once its beat has stood still for long enough.
Two that both think they are the first choice do no harm: each commit is fenced by the partition's epoch.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from ambit.ledger.dispatch import Dispatcher
from ambit.ledger.events import Events
from ambit.ledger.journal import JournalError
from ambit.ledger.journal.partitioned import Lookout, PartitionedSource, Sight
from ambit.ledger.partitions.forest import Forest
from ambit.ledger.partitions.gate import Gate
from ambit.ledger.partitions.place import MakeStore, Place
from ambit.ledger.partitions.rendezvous import alive, choices
from ambit.ledger.partitions.table import COVERS, Table
from ambit.ledger.term import MakeWriter
from ambit.ledger.tree import Tree
from ambit.ledger.writer import LedgerStopped, Writer
from ambit.telemetry import metrics

POLL_S = 0.2
READ_AT_ONCE = 2
"""How many partitions' trees are read from the store at a time."""
CURRENT_S = 2.0
"""For how long what a look showed is told to clients."""
BEAT_S = 0.5
"""How often it tells the store that it is alive."""
log = logging.getLogger(__name__)
T = TypeVar("T")


class Replica:
    """The ledger that is reached at `url`, of a store of so many partitions. `incarnation` numbers its events."""

    def __init__(
        self,
        url: str,
        source: PartitionedSource,
        partitions: int,
        make_store: MakeStore,
        make_writer: MakeWriter,
        incarnation: int,
    ) -> None:
        self._url = url
        self._source = source
        self._partitions = partitions
        self.events = Events(incarnation, lambda: True, self._word)  # each word says for whom it is the writer
        self.forest = Forest(lambda: [place.tree for place in self._places])
        reading = asyncio.Semaphore(READ_AT_ONCE)
        self._places = [
            Place(number, source.partition(number), make_store, make_writer, self._gate, reading)
            for number in range(partitions)
        ]
        self.table = Table((None,) * partitions, ())
        """Who writes what, by the last look."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lookout")
        self._lookout: Lookout | None = None
        self._beat_s = self._looked_s = float("-inf")
        self._serves = False
        self._unable: frozenset[int] = frozenset()
        """What it has told the others that it cannot write."""
        self._failure: str | None = "the first look at the store"
        self._waiting: list[asyncio.Future[None]] = []
        self._wake = asyncio.Event()
        self._stopping = False

    # -- asking ------------------------------------------------------------
    def dispatcher(self, partition: int) -> Dispatcher | None:
        """That of a partition, while this is its writer."""
        if not 0 <= partition < self._partitions:
            return None
        dispatcher = self._places[partition].dispatcher
        return None if dispatcher.writer is None else dispatcher

    def is_current(self) -> bool:
        """Whether the table is of a look at the store that is not long ago."""
        return asyncio.get_running_loop().time() - self._looked_s <= CURRENT_S

    def written(self) -> Sequence[tuple[Tree, int]]:
        """The trees that this ledger writes, each with its own time."""
        writers = (place.writer for place in self._places)
        return [(writer.tree, writer.now_ms()) for writer in writers if writer is not None]

    def waiting_for(self) -> str | None:
        """Why this ledger does not do all that it should; None: it follows everything, and writes what is its own."""
        if self._failure is not None:
            return self._failure
        if not self._serves:
            behind = (place.behind for place in self._places if place.behind is not None)
            return next(behind, "the replay of every partition's journal")
        mine = [place for place in self._places if self.table.writers[place.number] == self._url]
        missing = [place for place in mine if not place.answers]
        if not missing:
            return None
        cause = next((f": {place.refusals.last}" for place in missing if place.refusals.last is not None), "")
        return f"the writer's place of partition {', '.join(str(place.number) for place in missing)}{cause}"

    async def fresh(self) -> None:
        """Brings every tree that is followed up to what is committed by now. Raises LedgerStopped."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        self._wake.set()
        try:
            await waiting
        except JournalError as error:
            raise LedgerStopped(f"the store cannot be looked at: {error}") from error
        if not self.forest.is_whole():
            raise LedgerStopped("this ledger still reads what it follows")

    async def recorded(self, session: str) -> int | None:
        """The partition of a session that has left its tree. Raises LedgerStopped."""
        try:
            lookout = self._opened()
            return await self._in_thread(lambda: lookout.recorded(session))
        except JournalError as error:
            raise LedgerStopped(f"the store's records cannot be looked at: {error}") from error

    # -- running -----------------------------------------------------------
    def stop(self) -> None:
        """Has `run` hand everything over and end."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Runs until `stop`."""
        try:
            while not self._stopping:
                await self._round()
                for place in self._places:
                    if place.defect is not None:
                        raise place.defect
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_S):
                        await self._wake.wait()
        finally:
            await self._leave()

    async def _round(self) -> None:
        waiting, self._waiting = self._waiting, []
        self._wake.clear()
        try:
            sight = await self._look()
            for place in self._places:
                await place.follow(sight.standings[place.number], self._opened(), self._in_thread)
        except JournalError as error:
            # Once for each spell, and never the end: what is written here goes on for as long as its own journal does.
            if self._failure is None:
                log.warning("the store cannot be looked at", extra={"fields": {"cause": str(error)}})
            self._failure = f"a look at the store: {error}"
            for each in waiting:
                if not each.done():
                    each.set_exception(error)
            await self._close_lookout()
            for place in self._places:
                place.trouble.forget()  # the store is away for all
            return
        self._failure = None
        behind = any(place.behind is not None for place in self._places)
        self._serves = not behind and (self._serves or self.forest.is_whole())
        for each in waiting:
            if not each.done():
                each.set_result(None)
        self._act(sight)

    def _act(self, sight: Sight) -> None:
        self._looked_s = asyncio.get_running_loop().time()
        urls = alive(sight.members)
        unable = {each.url: each.unable for each in sight.members}
        self.table = Table(choices(self._partitions, urls, unable), urls)
        if self._url in urls or not self._serves:  # else the store has not heard of it lately, and may not know better
            for place, choice in zip(self._places, self.table.writers, strict=True):
                standing = sight.standings[place.number]
                if choice == self._url and place.is_due(standing):
                    place.take(standing, self.events)
                elif choice not in (self._url, None):
                    place.hand_over()
                others = any(place.number not in unable[url] for url in urls if url != self._url)
                place.leave_if_unable(standing, is_mine=choice == self._url, others=others)
        followed = [place for place in self._places if not place.is_written]
        metrics.LEDGER_FOLLOWED.set(len(followed))
        metrics.LEDGER_STANDBY_LAG.set(sum(place.lag(sight.standings[place.number]) for place in followed))
        self.events.speak()

    async def _look(self) -> Sight:
        if self._lookout is None:
            self._lookout = await self._in_thread(self._source.lookout)
            self._beat_s = float("-inf")
        lookout = self._lookout
        now_s = asyncio.get_running_loop().time()
        unable = frozenset(place.number for place in self._places if place.trouble.is_left(now_s))
        if now_s - self._beat_s >= BEAT_S or unable != self._unable:
            await self._in_thread(lambda: lookout.beat(self._url, self._serves, unable))
            self._beat_s, self._unable = now_s, unable
            metrics.LEDGER_UNABLE.set(len(unable))
        return await self._in_thread(lookout.look)

    async def _leave(self) -> None:
        self._stopping = True
        with suppress(JournalError):  # the others find out by its silence
            await self._in_thread(lambda: self._opened().leave(self._url))
        await asyncio.gather(*(place.end() for place in self._places))
        self.events.close()
        await self._close_lookout()
        self._thread.shutdown(wait=False)

    # -- how ---------------------------------------------------------------
    def _gate(self, writer: Writer, number: int) -> Gate:
        return Gate(writer, number, self._partitions, self.forest, self.fresh)

    def _word(self) -> bytes:
        covered = ",".join(str(place.number) for place in self._places if place.answers)
        return b"%s%s\n\n" % (COVERS, covered.encode())

    def _opened(self) -> Lookout:
        if self._lookout is None:
            raise JournalError("the store is not looked at")
        return self._lookout

    async def _close_lookout(self) -> None:
        lookout, self._lookout = self._lookout, None
        if lookout is not None:
            with suppress(JournalError):  # it is of no use any more, whatever it says
                await self._in_thread(lookout.close)

    def _in_thread(self, work: Callable[[], T]) -> Awaitable[T]:
        return asyncio.get_running_loop().run_in_executor(self._thread, work)
