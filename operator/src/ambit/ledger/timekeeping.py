"""Where the writer has its time from: two clocks of this machine, a witness on another, and what was noted before.

`clock.Clock` decides what is believed. Here it is asked, the witness is heard, and where the clocks stand is noted for
the next process on this boot.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol

from ambit.ledger.clock import Ahead, Clock, Reading
from ambit.ledger.state import State
from ambit.telemetry import metrics

Witness = Callable[[], Awaitable[int | None]]
"""The time of another machine's clock, in milliseconds since the epoch. None: it cannot be had now."""
WITNESS_S = 2.0
"""How long a witness may take to answer: what it says is compared with what our clocks show then."""
ASK_EVERY_S = 600.0
ASK_IN_DOUBT_EVERY_S = 5.0
NOTE_AFTER_MS = 60_000
"""How far the clocks may have moved against each other before it is noted anew."""
HELP = (
    "no window begins by it, so that what is exhausted stays so. If the clock is right: ambit ledger accept-clock; "
    "if not, set it back: that ends the doubt by itself"
)
log = logging.getLogger(__name__)


class Notes(Protocol):
    """Keeps how the clocks stand for the next process on this boot of this machine."""

    async def load(self) -> Ahead | None:
        """What was kept; None: nothing, or on another boot."""
        ...

    async def keep(self, ahead: Ahead) -> None:
        """Keeps it, in the place of what was kept before."""
        ...


class Timekeeper:
    """Reads `wall_ms` against `steady_ms` (None: the running loop's clock). `begin` comes first."""

    def __init__(
        self,
        wall_ms: Callable[[], int],
        steady_ms: Callable[[], int] | None = None,
        witness: Witness | None = None,
        notes: Notes | None = None,
    ) -> None:
        self._wall_ms = wall_ms
        self.steady_ms = _loop_ms if steady_ms is None else steady_ms
        """A clock that nobody sets; in production it goes on while the machine sleeps."""
        self._witness = witness
        self._notes = notes
        self._noted: Ahead | None = None
        self._clock = Clock(State(), 0, 0)
        self._doubted = self._counted = self._ended = False
        self._begun = asyncio.Event()
        """Set when a doubt begins."""
        self.now_ms = 0
        """What was last read."""

    async def begin(self, state: State) -> None:
        """Goes on from a tree that was replayed. Where its time and the clock's are far apart, the witness is asked."""
        self._noted = None if self._notes is None else await self._notes.load()
        self._clock = Clock(state, self._wall_ms(), self.steady_ms(), self._noted)
        self.now_ms = state.now_ms
        if self._clock.is_ahead(self._wall_ms(), self.steady_ms()):
            await self._hear()
        await self._note()

    def read(self, state: State) -> Reading:
        """The ledger's time. A doubt, or its end, is already part of `state`, and has to be journalled."""
        wall_ms = self._wall_ms()
        reading = self._clock.read(state, wall_ms, self.steady_ms())
        if state.clock_doubted is not self._doubted:
            self._doubted = state.clock_doubted
            self._count_doubt(self._doubted)
            fields = {"ledgerMs": reading.now_ms, "clockMs": wall_ms}
            if self._doubted:
                log.error(f"the clock is far ahead and doubted: {HELP}", extra={"fields": fields})
                self._begun.set()
            else:
                log.info("the clock is believed again", extra={"fields": fields})
        self.now_ms = reading.now_ms
        return reading

    async def run(self, state: State) -> None:
        """Hears the witness now and then, more often while the clock is doubted, and keeps notes, until cancelled."""
        try:
            await self._listen(state)
        finally:
            self._count_doubt(False)
            self._ended = True

    def _count_doubt(self, doubted: bool) -> None:
        """Of several writers in this process, how many doubt."""
        if doubted is not self._counted and not self._ended:
            self._counted = doubted
            metrics.LEDGER_CLOCK_DOUBTED.inc(1 if doubted else -1)

    async def _listen(self, state: State) -> None:
        while True:
            if state.clock_doubted:
                await asyncio.sleep(ASK_IN_DOUBT_EVERY_S)
            else:
                with suppress(TimeoutError):
                    async with asyncio.timeout(ASK_EVERY_S):
                        await self._begun.wait()
            self._begun.clear()
            await self._hear()
            await self._note()

    async def _hear(self) -> None:
        if self._witness is None:
            return
        said_ms = None
        with suppress(TimeoutError):
            async with asyncio.timeout(WITNESS_S):
                said_ms = await self._witness()
        if said_ms is not None:
            self._clock.hear(said_ms, self._wall_ms(), self.steady_ms())

    async def _note(self) -> None:
        ahead = self._clock.ahead()
        if self._notes is None or (self._noted is not None and not _differ(self._noted, ahead)):
            return
        await self._notes.keep(ahead)
        self._noted = ahead


def _differ(noted: Ahead, now: Ahead) -> bool:
    if (noted.witness_ms is None) is not (now.witness_ms is None):
        return True
    witness_ms = (now.witness_ms or 0) - (noted.witness_ms or 0)
    return abs(now.line_ms - noted.line_ms) > NOTE_AFTER_MS or abs(witness_ms) > NOTE_AFTER_MS


def _loop_ms() -> int:
    return int(asyncio.get_running_loop().time() * 1000)
