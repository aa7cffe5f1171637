"""A ledger's times as the writer, one after the other, and what stands between them.

Over the embedded journal there is one term, and its failure ends the process: the next one replays what the disk has.
Over a store that is shared, a ledger stands by until the writer is gone; and a writer whose commit failed drops its
tree and stands by again, since another may have taken over.
"""

import asyncio
import gc
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress

from ambit.ledger import changes, spans
from ambit.ledger.dispatch import Dispatcher
from ambit.ledger.events import Events
from ambit.ledger.journal import Fenced, JournalError, Source, Store
from ambit.ledger.journal.shared import SharedSource
from ambit.ledger.replay import Replay
from ambit.ledger.standby import Standby
from ambit.ledger.writer import Writer
from ambit.telemetry import metrics, tracing
from ambit.telemetry.tracing import SpanName

PAUSE_S = 0.5
"""Between a term that failed and the next."""
STANDING_BY = "the writer's place: another ledger is the writer, and this one stands by"
log = logging.getLogger(__name__)
Committed = Callable[[Sequence[changes.AnyChange]], None]


class Terms:
    """Runs terms over `source`. `make_store` makes the store of one, `make_writer` its writer."""

    def __init__(
        self,
        source: Source,
        make_store: Callable[[], Store],
        make_writer: Callable[[Store, Committed], Writer],
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
        self._refused: str | None = None
        """Why it could not become the writer when it last tried."""
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
                if self._refused is None:
                    log.warning("no longer the writer", extra={"fields": {"cause": str(error)}})
                await asyncio.sleep(PAUSE_S)
        await standby.close()

    def _stand_by(self) -> None:
        self._waiting_for = STANDING_BY if self._refused is None else f"the writer's place: {self._refused}"

    def _note_refusal(self, error: BaseException) -> None:
        """Says once for each cause why it could not become the writer: it will be tried again and again."""
        cause = str(error) if isinstance(error, JournalError) and not isinstance(error, Fenced) else None
        if cause is not None and cause != self._refused:
            log.error("it cannot be the writer", extra={"fields": {"cause": cause}})
        self._refused = cause

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
        events: Events | None = None

        def committed(batch: Sequence[changes.AnyChange]) -> None:
            if events is not None:
                events.publish(batch)
            _count(batch)

        store = self._make_store()
        self.writer = writer = self._make_writer(store, committed)
        cause = "JournalFailed"
        try:
            try:
                with tracing.span(SpanName.LEDGER_RECOVERY if replay is None else SpanName.LEDGER_TAKEOVER) as span:
                    await writer.recover(replay)
                    spans.of_writer(span, writer.epoch, writer.tree)
            except BaseException as error:
                self._note_refusal(error)
                await store.close()
                raise
            self._refused = None
            # What is in memory now stays there. Full collections of garbage would look at all of it again and again, a
            # second each for a million accounts.
            gc.collect()
            gc.freeze()
            self.events = events = Events(writer.epoch, writer.is_confirmed)
            if self._stopping.is_set():
                writer.stop()
            writing = asyncio.create_task(writer.run(), name="ledger writer")
            self._dispatcher.writer = writer
            self._waiting_for = None
            metrics.LEDGER_WRITER.set(1)
            fields = {"epoch": writer.epoch, "accounts": len(writer.tree.state.accounts)}
            log.info("the writer", extra={"fields": fields})
            self.first.set()
            try:
                await writing
            finally:
                writing.cancel()
            cause = "Stopped"
        except Fenced:
            cause = "Fenced"
            raise
        finally:
            metrics.LEDGER_TERMS.labels(cause).inc()
            metrics.LEDGER_WRITER.set(0)
            metrics.LEDGER_CLOCK_DOUBTED.set(0)
            self._waiting_for = "its end"
            self.writer = self._dispatcher.writer = None
            gc.unfreeze()  # the tree of this term is garbage
            self.events = None
            if events is not None:
                events.close()


def _count(batch: Sequence[changes.AnyChange]) -> None:
    for change in batch:
        match change:
            case changes.HoldExpired():
                metrics.LEDGER_EXPIRED_HOLDS.inc()
            case changes.KillEnded():
                metrics.LEDGER_KILL_SECONDS.labels(change.how).observe(change.after_ms / 1000)
            case changes.LimitReached():
                kind = change.path.partition("/")[0]
                metrics.LEDGER_WARNINGS.labels(kind, change.window, change.resource, str(change.percent)).inc()
            case changes.SessionParked():
                metrics.LEDGER_PARKED.inc()
            case changes.SessionWoken():
                metrics.LEDGER_WOKEN.inc()
            case _:
                pass
