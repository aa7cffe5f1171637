"""A ledger's times as the writer, one after the other, and what stands between them.

Over the embedded journal there is one term, and its failure ends the process: the next one replays what the disk has.
Over a store that is shared, a ledger stands by until the writer is gone; and a writer whose commit failed drops its
tree and stands by again, since another may have taken over.
"""

import asyncio
import gc
import logging
from collections.abc import Callable
from contextlib import suppress

from ambit.ledger.dispatch import Dispatcher
from ambit.ledger.events import Events
from ambit.ledger.journal import JournalError, Source, Store
from ambit.ledger.journal.shared import SharedSource
from ambit.ledger.replay import Replay
from ambit.ledger.standby import Standby
from ambit.ledger.term import Committed, MakeWriter, Refusals, Term
from ambit.ledger.writer import Writer

PAUSE_S = 0.5
"""Between a term that failed and the next."""
STANDING_BY = "the writer's place: another ledger is the writer, and this one stands by"
log = logging.getLogger(__name__)


class Terms:
    """Runs terms over `source`. `make_store` makes the store of one, `make_writer` its writer."""

    def __init__(
        self,
        source: Source,
        make_store: Callable[[], Store],
        make_writer: MakeWriter,
        dispatcher: Dispatcher,
    ) -> None:
        self._source = source
        self._make_store = make_store
        self._make_writer = make_writer
        self._dispatcher = dispatcher
        self._stopping = asyncio.Event()
        self.writer: Writer | None = None
        """The writer of this moment."""
        self.events: Events | None = None
        """Its events."""
        self._waiting_for: str | None = "the journal's replay"
        self._standby: Standby | None = None
        self._refusals = Refusals()
        self.first = asyncio.Event()
        """Set once it answers, or stands by, for the first time."""

    def waiting_for(self) -> str | None:
        """Why this ledger does not answer now; None: it does."""
        if self._waiting_for is None and self.writer is not None and not self.writer.is_confirmed():
            return "the journal's word that it is the writer"
        if self.writer is None and self._standby is not None and self._standby.behind is not None:
            return self._standby.behind
        return self._waiting_for

    def stop(self) -> None:
        """Ends the term, once all that was taken is on disk, and begins no other."""
        self._stopping.set()
        if self.writer is not None:
            self.writer.stop()

    async def run(self) -> None:
        """Runs until `stop`. Raises JournalError where the embedded journal fails."""
        if not isinstance(self._source, SharedSource):
            await self._term(None)
            return
        self._standby = standby = Standby(self._source)
        while not self._stopping.is_set():
            self._stand_by()
            self.first.set()
            replay = await self._unless_stopped(standby)
            if replay is None:
                break
            await standby.close()
            try:
                await self._term(replay)
            except JournalError as error:
                self._stand_by()
                if self._refusals.last is None:
                    log.warning("no longer the writer", extra={"fields": {"cause": str(error)}})
                await asyncio.sleep(PAUSE_S)
        await standby.close()

    def _stand_by(self) -> None:
        refused = self._refusals.last
        self._waiting_for = STANDING_BY if refused is None else f"the writer's place: {refused}"

    async def _unless_stopped(self, standby: Standby) -> Replay | None:
        due = asyncio.create_task(standby.until_due())
        stopped = asyncio.create_task(self._stopping.wait())
        await asyncio.wait((due, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if due.done():
            return await due
        due.cancel()
        with suppress(asyncio.CancelledError):
            await due
        return None

    async def _term(self, replay: Replay | None) -> None:
        term = Term(self._make_store(), self._make_writer, self._refusals)
        self.writer = writer = term.writer
        events: Events | None = None

        def began() -> Committed:
            nonlocal events
            # What is in memory now stays there. Full collections of garbage would look at all of it again and again, a
            # second each for a million accounts.
            gc.collect()
            gc.freeze()
            self.events = events = Events(writer.epoch, writer.is_confirmed)
            if self._stopping.is_set():
                writer.stop()
            self._dispatcher.writer = writer
            self._waiting_for = None
            self.first.set()
            return events.publish

        try:
            await term.run(replay, began)
        finally:
            self._waiting_for = "its end"
            self.writer = self._dispatcher.writer = None
            gc.unfreeze()  # the tree of this term is garbage
            self.events = None
            if events is not None:
                events.close()
