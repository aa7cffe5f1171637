"""Operations of one client on their way to a ledger that may have several writers.

As long as the ledger is one writer's, there is one lane to it, and nothing here does anything. Once a ledger says that
it has partitions, each of them has a lane of its own: order is kept within a lane, and one whose writer is gone holds
up no other.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Sequence
from functools import partial
from random import Random
from typing import Final

from ambit.ledger import wire
from ambit.ledger.http_exchange import HttpLedger
from ambit.ledger.paging import all_pages
from ambit.ledger.partitions.table import Table
from ambit.ledger.routing.directory import Directory
from ambit.ledger.routing.everywhere import error_of, merged, shares
from ambit.ledger.routing.keys import KeyKind, key_of, nowhere
from ambit.ledger.transport import MAX_WAITING, PAUSES_S, Asked, AttemptFailed, Misdirected, Transport, check_room

MOVED_S: Final = 1.0
"""How long an attempt may take before the client looks whether the partition has another writer by now."""
log = logging.getLogger(__name__)


class Lanes:
    """The way to the ledger at `http`: a `Transport`, as far as a client can tell."""

    def __init__(self, http: HttpLedger, chance: Random) -> None:
        self._http = http
        self._chance = chance
        self._one = Transport(http.exchange, chance)
        self._lanes: Sequence[Transport] = ()
        self.directory: Directory | None = None
        """None as long as the ledger is one writer's."""
        self._unplaced: deque[Asked] = deque()
        self._arrived = asyncio.Event()
        self._spread = asyncio.Event()
        self._failure: str | None = None

    @property
    def last_failure(self) -> str | None:
        """What went wrong with the last attempt of any lane, for the message of whoever gives up."""
        failures = (lane.last_failure for lane in (self._one, *self._lanes))
        return self._failure or next((failure for failure in failures if failure is not None), None)

    def ask(self, op: wire.AnyOperation) -> asyncio.Future[wire.AnyResult]:
        """As `Transport.ask`."""
        if self.directory is None:
            return self._one.ask(op)
        if key_of(op).kind is KeyKind.ALL:
            asked = Asked.of(op)
            return asked.answer if asked.answer.done() else self._ask_all(op)
        place = self.directory.find(op)
        if place is not None:
            answer = self._lanes[place].ask(op)
            answer.add_done_callback(partial(self._answered, op))
            return answer
        check_room(len(self._unplaced), MAX_WAITING, op)
        asked = Asked.of(op)
        if not asked.answer.done():
            self._take(asked)
        return asked.answer

    def give_back(self, op: wire.AnyOperation, result: wire.AnyResult) -> None:
        """As `Transport.give_back`."""
        place = None if self.directory is None else self.directory.find(op)
        (self._one if place is None else self._lanes[place]).give_back(op, result)

    def spread(self, table: Table) -> None:
        """The ledger has several writers."""
        if self.directory is None:
            self.directory = Directory(self._http, table)
            places = range(self.directory.partitions)
            self._lanes = [Transport(partial(self._exchange, place), self._chance) for place in places]
            self._spread.set()

    async def run(self) -> None:
        """Sends until it is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._run_one(), name="ledger client: one writer")
            await self._spread.wait()
            tasks.create_task(self._place(), name="ledger client: places")
            for number, lane in enumerate(self._lanes):
                tasks.create_task(lane.run(), name=f"ledger client: partition {number}")

    async def _run_one(self) -> None:
        """Runs the one lane until the ledger answers that it has several writers: what it then had was not done."""
        try:
            await self._one.run()
        except Misdirected as misdirected:
            self.spread(misdirected.table)
        for asked in self._one.drain():
            self._take(asked)

    # -- placing -----------------------------------------------------------
    def _take(self, asked: Asked) -> None:
        self._unplaced.append(asked)
        self._arrived.set()

    async def _place(self) -> None:
        """Finds out where operations belong, and puts them into their lanes, in the order in which they were asked."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            attempt = 0
            while self._unplaced:
                batch = [asked for asked in self._unplaced if asked.due]
                self._unplaced.clear()
                everywhere = [asked for asked in batch if key_of(asked.op).kind is KeyKind.ALL]
                batch = [asked for asked in batch if key_of(asked.op).kind is not KeyKind.ALL]
                for asked in everywhere:
                    _pass_on(self._ask_all(asked.op), asked.answer)
                try:
                    places = await self._directory.look_up([asked.op for asked in batch])
                except AttemptFailed as failure:
                    self._failure = str(failure)
                    self._unplaced.extendleft(reversed(batch))
                    await self._pause(attempt)
                    attempt += 1
                    continue
                self._failure = None
                for asked, place in zip(batch, places, strict=True):
                    asked.answer.add_done_callback(partial(self._answered, asked.op))
                    somewhere = nowhere(key_of(asked.op), self._directory.partitions) if place is None else place
                    self._lanes[somewhere].take(asked)

    def _answered(self, op: wire.AnyOperation, answer: asyncio.Future[wire.AnyResult]) -> None:
        if not answer.cancelled() and answer.exception() is None:
            self._directory.answered(op, answer.result())

    def _ask_all(self, op: wire.AnyOperation) -> asyncio.Future[wire.AnyResult]:
        answer: asyncio.Future[wire.AnyResult] = asyncio.get_running_loop().create_future()
        asking = asyncio.create_task(self._everywhere(op), name="ledger client: every partition")
        asking.add_done_callback(lambda done: _set(answer, done))
        answer.add_done_callback(lambda _: asking.cancel())
        return answer

    async def _everywhere(self, op: wire.AnyOperation) -> wire.AnyResult:
        """Asks every partition for its share of an operation."""
        spent = [wire.GetUsage(each.path) for each in op.spent] if isinstance(op, wire.Resume) else []
        attempt = 0
        while True:
            try:
                places = await self._directory.look_up(spent)
            except AttemptFailed as failure:
                self._failure = str(failure)
                await self._pause(attempt)
                attempt += 1
            else:
                break
        for each, place in zip(spent, places, strict=True):
            if place is None:
                return wire.UnknownAccount(each.path)
        answers: list[wire.AnyResult] = []
        for phase in shares(op, places, self._directory.partitions):
            asked = [self._all_of(self._lanes[place], share) for place, share in phase.items()]
            answers += await asyncio.gather(*asked)
            if (wrong := error_of(answers)) is not None:
                return wrong
        return merged(answers)

    @staticmethod
    def _all_of(lane: Transport, op: wire.AnyOperation) -> Awaitable[wire.AnyResult]:
        """One partition's answer, with all of its pages."""
        return all_pages(lane.ask, op) if isinstance(op, wire.ListSessions) else lane.ask(op)

    # -- sending -----------------------------------------------------------
    async def _exchange(self, place: int, body: bytes) -> bytes:
        """One attempt at a batch of a partition, given up once the partition has another writer."""
        url = self._directory.table.writers[place]
        if url is None:
            await self._directory.refresh()
            raise AttemptFailed(f"partition {place} has no writer")
        posting = asyncio.create_task(self._http.exchange_with(url, place, body))
        try:
            while not (await asyncio.wait((posting,), timeout=MOVED_S))[0]:
                await self._directory.refresh()
                if self._directory.table.writers[place] != url:
                    raise AttemptFailed(f"partition {place} has another writer than {url} by now")
            return await posting
        except Misdirected as elsewhere:
            self._directory.learn(elsewhere.table)
            raise AttemptFailed(f"{url} is not the writer of partition {place}") from elsewhere
        except AttemptFailed:
            await self._directory.refresh()
            raise
        finally:
            posting.cancel()

    async def _pause(self, attempt: int) -> None:
        await asyncio.sleep(PAUSES_S[min(attempt, len(PAUSES_S) - 1)] * self._chance.uniform(0.9, 1.1))

    @property
    def _directory(self) -> Directory:
        if self.directory is None:
            raise RuntimeError("the ledger has one writer")
        return self.directory


def _pass_on(inner: asyncio.Future[wire.AnyResult], outer: asyncio.Future[wire.AnyResult]) -> None:
    inner.add_done_callback(lambda done: _set(outer, done))


def _set(answer: asyncio.Future[wire.AnyResult], done: "asyncio.Future[wire.AnyResult]") -> None:
    if answer.done():
        return
    if done.cancelled():
        answer.cancel()
    elif (error := done.exception()) is not None:
        answer.set_exception(error)
    else:
        answer.set_result(done.result())
