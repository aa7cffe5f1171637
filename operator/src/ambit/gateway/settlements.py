"""Settles and releases holds, for as long as the ledger takes to come back.

A settlement that never arrives costs the caller the whole hold (it expires, and expiry charges it), never the provider.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from ambit.gateway.warnings import Warnings
from ambit.ledger import wire
from ambit.ledger.amounts import Amount
from ambit.ledger.client import LedgerClient
from ambit.telemetry import metrics, tracing
from ambit.telemetry.tracing import Attribute, Span, SpanName

_log = logging.getLogger(__name__)


class Settlements:
    """Ends holds in the background; `on_freed` is called when one has ended."""

    def __init__(self, ledger: LedgerClient, on_freed: Callable[[], None], warnings: Warnings) -> None:
        self._ledger = ledger
        self._on_freed = on_freed
        self._warnings = warnings
        self._open: set[asyncio.Future[wire.AnyResult]] = set()

    def settle(self, session: str, hold: str, used: Amount) -> None:
        """Charges what was used."""
        self._end(session, wire.Settle(id=hold, used=used))

    def release(self, hold: str, reason: str) -> None:
        """Drops a hold whose act provably did not happen."""
        self._end("", wire.Release(id=hold, reason=reason))

    async def finish(self, timeout_s: float) -> bool:
        """Waits for what is under way, at most so long; whether all of it was done."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        while self._open and (left_s := deadline_s - loop.time()) > 0:
            await asyncio.wait(tuple(self._open), timeout=left_s)
        if self._open:
            _log.error("%d holds could not be ended: the ledger is away; expiry charges them whole", len(self._open))
        return not self._open

    def _end(self, session: str, op: wire.Settle | wire.Release) -> None:
        span = tracing.part(SpanName.SETTLEMENT)
        with span.active():
            # No task and no deadline: the client sends it again until it is acknowledged.
            answer = self._ledger.post(op)
        self._open.add(answer)
        answer.add_done_callback(partial(self._ended, session, op.id, span))

    def _ended(self, session: str, hold: str, span: Span, answer: asyncio.Future[wire.AnyResult]) -> None:
        self._open.discard(answer)
        if answer.cancelled():
            span.end()
            return
        result = answer.result()
        span.set(Attribute.RESULT, type(result).__name__)
        span.end()
        metrics.GATEWAY_SETTLEMENTS.labels(type(result).__name__).inc()
        match result:
            case wire.Settled():
                if result.overrun != Amount():
                    _log.warning("hold %s was overrun", hold, extra={"fields": {"overrun": repr(result.overrun)}})
                    metrics.GATEWAY_OVERRUNS.inc()
                self._warnings.add(session, result.warnings)
            case wire.Released() | wire.AlreadySettled():
                pass
            case _:
                _log.error("hold %s could not be ended: %r", hold, result)
                return
        self._on_freed()
