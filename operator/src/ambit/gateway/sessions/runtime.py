"""Runtime of an isolate session, held in slices ahead of its use (docs/design/0001-interfaces.md, "Runtime").

The rule is `ambit.policy.runtime_slices`; `RuntimeHold` carries it out against the ledger. A slice that is refused is
not the end: the environment runs until what is held is used up.

What is charged: the time until the host has confirmed that nothing is left of the agent, where that came before the
end of what is held. To make it so, the agent is aborted a margin ahead. Where no confirmation came by then, the agent
may still run (its host ends it by itself soon after): all that is held is charged, never more, so that no limit is
exceeded, and the log and `ambit_isolate_ends_unconfirmed_total` say so.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from time import monotonic
from typing import Final

from ambit.ledger import wire
from ambit.ledger.amounts import Amount
from ambit.ledger.client import LedgerClient, LedgerError, LedgerUnavailable
from ambit.policy.runtime_slices import (
    ASK_AGAIN_MS,
    AT_LEAST_MS,
    EXPIRY_SLACK_MS,
    SLICE_MS,
    Standing,
    isolate_margin_ms,
)
from ambit.telemetry import metrics
from ambit.telemetry.reasons import SessionEnd

ROOM_PATIENCE_S: Final = 20.0

_ENDS_NOW: Final = {
    wire.RefusalReason.ACCOUNT_REMOVED: SessionEnd.ACCOUNT_REMOVED,
    wire.RefusalReason.TERMINATED: SessionEnd.BUDGET_EXHAUSTED,
    wire.RefusalReason.HOLD_EXPIRED: SessionEnd.RUNTIME_EXHAUSTED,  # and all of it is charged
}
"""Refusals after which nothing is left to run on."""
_ASK_AGAIN: Final = frozenset(
    {wire.RefusalReason.STORAGE_FULL, wire.RefusalReason.RESTORE_PENDING, wire.RefusalReason.PARKED}
)
"""Refusals that say nothing of the next answer: a disk has room again, a restore is resumed, a Budget is topped up."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Slices:
    """What is held of a session's runtime, counted from its start."""

    covers_ms: int
    sequence: int = 0
    """Of the last granted extension."""
    final: bool = False
    """No more is granted."""

    def standing(self, elapsed_ms: int) -> Standing:
        """How it stands after so long."""
        return Standing(self.covers_ms, elapsed_ms, isolate_margin_ms(self.covers_ms))

    def charge_ms(self, ended_at_ms: int | None) -> int:
        """What to settle. `ended_at_ms`: when the end was confirmed; None: it was not."""
        return self.covers_ms if ended_at_ms is None else min(ended_at_ms, self.covers_ms)

    def granted(self, more_ms: int) -> "Slices":
        """After an extension was granted."""
        return replace(self, covers_ms=self.covers_ms + more_ms, sequence=self.sequence + 1)


@dataclass(frozen=True)
class Ended:
    """Why the environment has to end."""

    reason: SessionEnd
    message: str


class RuntimeHold:
    """The one hold of an isolate session's runtime; used by one task at a time."""

    def __init__(self, ledger: LedgerClient, path: str, hold_id: str, clock: Callable[[], float] = monotonic) -> None:
        self._ledger = ledger
        self._path = path
        self._id = hold_id
        self._clock = clock
        self._slices = Slices(0)
        self._started_s = 0.0
        self.extended = asyncio.Event()
        """Set at each further slice; whoever waits for it clears it."""

    @property
    def covers_ms(self) -> int:
        """What is held, counted from the start."""
        return self._slices.covers_ms

    def elapsed_ms(self) -> int:
        """How long the environment has been running; rounded up, as it is charged."""
        return -int(-(self._clock() - self._started_s) * 1000 // 1)

    async def begin(self) -> wire.Granted | wire.Refused | wire.Wait:
        """Holds the first slice, waiting a while for room that others hold. After `Granted` the runtime counts."""
        deadline_s = self._clock() + ROOM_PATIENCE_S
        while True:
            answer = await self._first_slice()
            if not isinstance(answer, wire.Wait) or self._clock() >= deadline_s:
                break
            await asyncio.sleep(ASK_AGAIN_MS / 1000)
        if isinstance(answer, wire.Granted):
            self._slices = Slices(answer.amount.runtime_ms)
            self._started_s = self._clock()
        return answer

    async def _first_slice(self) -> wire.Granted | wire.Refused | wire.Wait:
        asked = wire.Reserve(
            id=self._id,
            path=self._path,
            want=Amount(runtime_ms=SLICE_MS),
            at_least=Amount(runtime_ms=AT_LEAST_MS),
            expires_in_ms=SLICE_MS + EXPIRY_SLACK_MS,
        )
        try:
            return await self._ledger.reserve(asked)
        except (LedgerUnavailable, asyncio.CancelledError):
            # It may be granted all the same, and nothing will run on it.
            self._ledger.post(wire.Release(self._id, "the session did not begin"))
            raise

    async def keep(self) -> Ended:
        """Renews the slice until none is granted and the last is used up, or the session has ended in the ledger."""
        denial = "the ledger did not answer"
        while True:
            standing = self._slices.standing(self.elapsed_ms())
            if standing.told_in_ms == 0:
                return Ended(SessionEnd.RUNTIME_EXHAUSTED, denial)
            rest_ms = standing.told_in_ms if self._slices.final else min(standing.told_in_ms, standing.renewal_in_ms)
            if rest_ms > 0:
                await asyncio.sleep(rest_ms / 1000)
                continue
            answer = await self._extend(standing)
            if isinstance(answer, wire.Granted):
                self._slices = self._slices.granted(answer.amount.runtime_ms)
                self.extended.set()
                continue
            if answer is not None:
                denial = answer.message
            if isinstance(answer, wire.Refused):
                ended = _ended_by(answer)
                if ended is not None:
                    return ended
                if answer.reason not in _ASK_AGAIN:
                    self._slices = replace(self._slices, final=True)
                    continue
            await asyncio.sleep(min(ASK_AGAIN_MS, standing.told_in_ms) / 1000)

    async def _extend(self, standing: Standing) -> wire.Granted | wire.Refused | wire.Wait | None:
        """Asks for the next slice; None where no answer came before the present one is over."""
        extension = wire.Extend(
            id=self._id,
            sequence=self._slices.sequence + 1,
            want=Amount(runtime_ms=SLICE_MS),
            at_least=Amount(runtime_ms=AT_LEAST_MS),
            expires_in_ms=standing.renewed_lives_ms,
        )
        try:
            async with asyncio.timeout(standing.told_in_ms / 1000):
                return await self._ledger.extend(extension)
        except (TimeoutError, LedgerUnavailable, LedgerError) as error:
            _log.warning("runtime of %s was not extended: %s", self._path, error)
            return None

    async def settle(self, confirmed: bool) -> None:
        """Charges what was used, and no more than is held; to be called once the environment's end is `confirmed`, or
        what is held is over. Where the ledger is away, the hold expires and is charged in full.
        """
        elapsed_ms = self.elapsed_ms()
        if not confirmed or elapsed_ms > self.covers_ms:
            metrics.ISOLATE_ENDS_UNCONFIRMED.inc()
            _log.warning(
                "the end of %s was not confirmed within the %d ms that were held (%d ms after its start): all of them"
                " are charged, and it may have run for longer",
                self._path,
                self.covers_ms,
                elapsed_ms,
            )
        used = Amount(runtime_ms=self._slices.charge_ms(elapsed_ms if confirmed else None))
        try:
            await self._ledger.settle(wire.Settle(id=self._id, used=used))
        except (LedgerUnavailable, LedgerError) as error:
            _log.warning("runtime of %s was not settled and will be charged by its expiry: %s", self._path, error)


def _ended_by(refused: wire.Refused) -> Ended | None:
    """Why the environment has to end at once, where it has to."""
    if refused.reason is wire.RefusalReason.SESSION_ENDED:
        return Ended(refused.ended or SessionEnd.KILLED, refused.message)
    reason = _ENDS_NOW.get(refused.reason)
    return None if reason is None else Ended(reason, refused.message)
