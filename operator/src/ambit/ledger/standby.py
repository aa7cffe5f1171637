"""A ledger that stands by: it follows the journal in memory, until the writer is gone and the place is its own to take.

The writer's beat is counted in the store. A beat that stands still for `silence.SILENCE_S` by our own monotonic clock
means a writer that is gone, or one that has been refusing to answer for half a second already (`writer.LEASE_S`).
Should it come back, its epoch is over: what it then commits is fenced.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from typing import TypeVar

from ambit.ledger.journal import BatchesGone, JournalError
from ambit.ledger.journal.shared import SharedReader, SharedSource, Standing
from ambit.ledger.replay import Replay, from_snapshot
from ambit.ledger.silence import Silence
from ambit.telemetry import metrics

POLL_S = 0.2
BATCHES_AT_ONCE = 256
log = logging.getLogger(__name__)
T = TypeVar("T")


class Standby:
    """Follows the store at `source`.

    What a newer release wrote it cannot follow. It is `behind` then and never due, until it is replaced by its own next
    release, or can read on.
    """

    def __init__(self, source: SharedSource) -> None:
        self._source = source
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="standby")
        self._reader: SharedReader | None = None
        self._replay: Replay | None = None
        self._silence = Silence()
        self.behind: str | None = None
        """Why it cannot follow; None: it follows."""

    async def until_due(self) -> Replay:
        """Follows until the place can be taken: the tree so far, and `source` expects what was seen."""
        while True:
            try:
                standing = await self._look()
                self.behind = None
            except JournalError as error:
                # Once for each spell, and never the end: a standby that cannot reach the store waits until it can.
                if self.behind is None:
                    log.warning("the journal cannot be followed", extra={"fields": {"cause": str(error)}})
                self.behind = f"the journal, which it cannot follow: {error}"
                await self.close()
                if isinstance(error, BatchesGone):
                    self._replay = None
            else:
                if self._silence.is_due(standing, asyncio.get_running_loop().time()) and self._replay is not None:
                    self._source.expected = standing
                    replay, self._replay = self._replay, None
                    self._silence.begin_again()
                    return replay
            await asyncio.sleep(POLL_S)

    async def close(self) -> None:
        """Lets go of the store. It can be followed again."""
        reader, self._reader = self._reader, None
        if reader is not None:
            with suppress(JournalError):  # it is of no use any more, whatever it says
                await self._in_thread(reader.close)

    async def _look(self) -> Standing:
        """Takes up what is new. Raises JournalError."""
        if self._reader is None:
            self._reader = await self._in_thread(self._source.read)
        reader = self._reader
        standing = await self._in_thread(reader.standing)
        if self._replay is None:
            self._replay = await self._in_thread(lambda: from_snapshot(reader))
        replay = self._replay
        metrics.LEDGER_STANDBY_LAG.set(max(standing.last - replay.sequence, 0))
        batches = reader.batches(replay.sequence)
        while taken := await self._in_thread(lambda: list(islice(batches, BATCHES_AT_ONCE))):
            for batch in taken:
                replay.take(batch)
        return standing

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
