"""One time of a ledger as the writer of a journal."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from ambit.ledger import changes, spans
from ambit.ledger.journal import Fenced, JournalError, Store
from ambit.ledger.replay import Replay
from ambit.ledger.writer import Writer
from ambit.telemetry import metrics, tracing
from ambit.telemetry.tracing import SpanName

Committed = Callable[[Sequence[changes.AnyChange]], None]
MakeWriter = Callable[[Store, Committed], Writer]
log = logging.getLogger(__name__)


class Refusals:
    """Why a ledger could not become the writer when it last tried. Each cause is said once: it is tried on and on."""

    def __init__(self) -> None:
        self.last: str | None = None
        """None: it became it, or another was first."""

    def note(self, error: BaseException) -> None:
        """It could not, because of this."""
        cause = str(error) if isinstance(error, JournalError) and not isinstance(error, Fenced) else None
        if cause is not None and cause != self.last:
            log.error("it cannot be the writer", extra={"fields": {"cause": cause}})
        self.last = cause


class Term:
    """Becomes the writer of `store` and writes until it is stopped, or its journal fails."""

    def __init__(self, store: Store, make_writer: MakeWriter, refusals: Refusals) -> None:
        self._store = store
        self._refusals = refusals
        self._publish: Committed | None = None
        self.writer = make_writer(store, self._committed)

    async def run(self, known: Replay | None, began: Callable[[], Committed]) -> None:
        """`began` is called once it may answer; what it returns is told of each batch. Raises JournalError."""
        writer = self.writer
        cause = "JournalFailed"
        try:
            try:
                with tracing.span(SpanName.LEDGER_RECOVERY if known is None else SpanName.LEDGER_TAKEOVER) as span:
                    await writer.recover(known)
                    spans.of_writer(span, writer.epoch, writer.tree)
            except BaseException as error:
                self._refusals.note(error)
                await self._store.close()
                raise
            self._refusals.last = None
            self._publish = began()
            metrics.LEDGER_WRITER.inc()
            writing = asyncio.create_task(writer.run(), name="ledger writer")
            try:
                fields = {"epoch": writer.epoch, "accounts": len(writer.tree.state.accounts)}
                log.info("the writer", extra={"fields": fields})
                await writing
            finally:
                writing.cancel()
                metrics.LEDGER_WRITER.dec()
            cause = "Stopped"
        except Fenced:
            cause = "Fenced"
            raise
        finally:
            metrics.LEDGER_TERMS.labels(cause).inc()

    def _committed(self, batch: Sequence[changes.AnyChange]) -> None:
        if self._publish is not None:
            self._publish(batch)
        _count(batch)


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
