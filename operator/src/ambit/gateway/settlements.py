"""Settles and releases holds, for as long as the ledger takes to come back; and keeps holds alive during long calls.

A settlement that never arrives costs the caller the whole hold (it expires, and expiry charges it), never the provider.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

from ambit.ledger import wire
from ambit.ledger.amounts import Amount
from ambit.ledger.client import HoldUnknown, LedgerClient, LedgerError, LedgerUnavailable
from ambit.telemetry import metrics

KEEP_TRYING_S: Final = 900.0
"""An expired hold's true settlement is still taken as a correction; after so long it is given up and logged."""
RETRY_S: Final = 0.5
_log = logging.getLogger(__name__)


class Settlements:
    """Ends holds in the background; `on_freed` is called when one has ended."""

    def __init__(self, ledger: LedgerClient, on_freed: Callable[[], None], clock: Callable[[], float]) -> None:
        self._ledger = ledger
        self._on_freed = on_freed
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()

    def settle(self, hold: str, used: Amount) -> None:
        """Charges what was used."""
        self._spawn(self._until_done(hold, lambda: self._ledger.settle(wire.Settle(id=hold, used=used))))

    def release(self, hold: str, reason: str) -> None:
        """Drops a hold whose act provably did not happen."""
        self._spawn(self._until_done(hold, lambda: self._release(wire.Release(id=hold, reason=reason))))

    async def finish(self, timeout_s: float) -> bool:
        """Waits for what is under way, at most so long; whether all of it was done."""
        if self._tasks:
            await asyncio.wait(tuple(self._tasks), timeout=timeout_s)
        return not self._tasks

    async def _release(self, op: wire.Release) -> wire.Result:
        try:
            return await self._ledger.release(op)
        except HoldUnknown:
            return wire.AlreadySettled()  # the reservation that nobody answered never arrived

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _until_done(self, hold: str, attempt: Callable[[], Coroutine[Any, Any, wire.Result]]) -> None:
        give_up_at = self._clock() + KEEP_TRYING_S
        while True:
            try:
                result = await attempt()
            except LedgerUnavailable:
                if self._clock() >= give_up_at:
                    _log.error("hold %s could not be ended: the ledger is away; its expiry charges it whole", hold)
                    metrics.GATEWAY_SETTLEMENTS.labels("GivenUp").inc()
                    return
                await asyncio.sleep(RETRY_S)
                continue
            except LedgerError as error:
                _log.error("hold %s could not be ended: %s", hold, error)
                metrics.GATEWAY_SETTLEMENTS.labels(type(error).__name__).inc()
                return
            if isinstance(result, wire.Settled) and result.overrun != Amount():
                _log.warning("hold %s was overrun", hold, extra={"fields": {"overrun": repr(result.overrun)}})
                metrics.GATEWAY_OVERRUNS.inc()
            metrics.GATEWAY_SETTLEMENTS.labels(type(result).__name__).inc()
            self._on_freed()
            return


class HoldKeeper:
    """Moves a hold's expiry while its call goes on; calls `lost` if the hold can no longer be kept."""

    def __init__(self, ledger: LedgerClient, hold: str, expires_in_ms: int, lost: Callable[[str], None]) -> None:
        self._ledger = ledger
        self._hold = hold
        self._expires_in_ms = expires_in_ms
        self._lost = lost
        self._task = asyncio.get_running_loop().create_task(self._run())

    def stop(self) -> None:
        self._task.cancel()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        kept_until = loop.time() + self._expires_in_ms / 1000
        sequence = 1
        while True:
            await asyncio.sleep(self._expires_in_ms / 3000)
            asked_at = loop.time()
            try:
                answer = await self._ledger.extend(
                    wire.Extend(id=self._hold, sequence=sequence, expires_in_ms=self._expires_in_ms)
                )
            except LedgerUnavailable:
                # Tried again under the same number at the next turn, as long as a turn is left before the expiry.
                if loop.time() + self._expires_in_ms / 3000 >= kept_until:
                    self._lost("the ledger is away and the hold expires")
                    return
                continue
            except LedgerError as error:
                self._lost(str(error))
                return
            if not isinstance(answer, wire.Granted):
                self._lost(answer.message)
                return
            sequence += 1
            kept_until = asked_at + self._expires_in_ms / 1000
