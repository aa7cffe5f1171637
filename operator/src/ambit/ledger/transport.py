"""How a client's operations get to the ledger and back: in order, together, and again until they are acknowledged.

Nothing here knows HTTP: one attempt at a batch is an `Exchange`. Time is the running loop's, chance is an argument, so
that a simulated network, clock and scheduler can run this very code.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from random import Random
from typing import Final

import msgspec

from ambit.ledger import wire
from ambit.ledger.holds import MARK
from ambit.ledger.partitions.table import Table
from ambit.telemetry import tracing

Exchange = Callable[[bytes], Awaitable[bytes]]
"""One attempt at a batch: the body of `POST /v1/ops` → the body of its answer. Raises AttemptFailed."""

MISDIRECTED: Final = 421
"""The HTTP status of a request that the ledger asked does not serve, because another does."""
MAX_BATCH: Final = 1000
MAX_BATCH_BYTES: Final = 4 * 1024 * 1024
"""The ledger takes twice as much."""
MAX_OPERATION_BYTES: Final = 1024 * 1024
MAX_WAITING: Final = 10_000
"""How many operations may wait to be sent; more are refused at once, so that a stalled ledger fills no memory."""
ATTEMPT_S: Final = 4.0
"""How long one attempt may take before the batch is sent again on another connection."""
PAUSES_S: Final = (0.02, 0.05, 0.1, 0.25, 0.5)
"""Between attempts, a tenth more or less so that clients do not come back in step; the last one again and again."""
log = logging.getLogger(__name__)
_results = msgspec.json.Decoder(wire.Results)
_result = msgspec.json.Decoder(wire.AnyResult)


class _RawResults(msgspec.Struct):
    results: list[msgspec.Raw]


_raw_results = msgspec.json.Decoder(_RawResults)
_ALWAYS_TAKEN: Final = (wire.Extend, wire.Settle, wire.Release, wire.Close, wire.Kill)
"""They give room back or end something, and there are no more of them than of what was admitted."""
_READS: Final = (wire.GetUsage, wire.ListSessions, wire.GetHistory)
"""They change nothing: nobody needs their answer once their caller is gone."""


class AttemptFailed(Exception):
    """One attempt got no answer that counts; it is made again."""


class Misdirected(Exception):
    """The ledger did nothing of a batch, because its trees are spread over several writers."""

    def __init__(self, table: Table) -> None:
        super().__init__("the ledger has several writers")
        self.table = table


class TooMuchWaiting(Exception):
    """More operations wait for the ledger than are kept; this one was not taken."""


class Asked:
    """An operation and its answer to come. Cancelling `answer` gives it up."""

    __slots__ = ("answer", "body", "op", "sent", "trace")

    def __init__(self, op: wire.AnyOperation, body: bytes, answer: asyncio.Future[wire.AnyResult]) -> None:
        self.op = op
        self.body = body
        self.answer = answer
        self.sent = False
        self.trace = tracing.caller()

    @classmethod
    def of(cls, op: wire.AnyOperation) -> "Asked":
        """An operation; answered already, `Invalid`, where it cannot be sent."""
        answer: asyncio.Future[wire.AnyResult] = asyncio.get_running_loop().create_future()
        body = _encoded(op)
        if isinstance(body, wire.Invalid):
            answer.set_result(body)
            return cls(op, b"", answer)
        return cls(op, body, answer)

    @property
    def due(self) -> bool:
        """Whether it is still to be sent. What may have been done once is seen to its end, whoever waits for it."""
        if not self.answer.done():
            return True
        return self.sent and not isinstance(self.op, _READS)


def check_room(waiting: int, max_waiting: int, op: wire.AnyOperation) -> None:
    """Raises TooMuchWaiting where no more may wait, unless the operation gives room back."""
    if waiting >= max_waiting and not isinstance(op, _ALWAYS_TAKEN):
        raise TooMuchWaiting(f"{waiting} operations wait for the ledger")


def _encoded(op: wire.AnyOperation) -> bytes | wire.Invalid:
    """An operation as it is sent, or why it cannot be: it must not spoil the batch of others for ever."""
    try:
        body = msgspec.json.encode(op)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:  # half a character, a thing of no JSON
        return wire.Invalid(f"the operation cannot be written: {error}")
    if len(body) > MAX_OPERATION_BYTES:
        return wire.Invalid(f"the operation has {len(body)} bytes: at most {MAX_OPERATION_BYTES}")
    return body


def _decoded(answer: bytes) -> list[wire.AnyResult]:
    """The results of a batch. One that cannot be read fails its own operation only, not those beside it for ever."""
    try:
        return _results.decode(answer).results
    except (msgspec.ValidationError, UnicodeDecodeError):
        return [_readable(result) for result in _raw_results.decode(answer).results]


def _readable(raw: msgspec.Raw) -> wire.AnyResult:
    try:
        return _result.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return wire.Invalid(f"the ledger's answer cannot be read: {error}")


class Transport:
    """One connection's worth of operations. One batch is under way at a time: order is kept, and what comes meanwhile
    goes together in the next."""

    def __init__(self, exchange: Exchange, chance: Random, *, max_waiting: int = MAX_WAITING) -> None:
        self._exchange = exchange
        self._chance = chance
        self._max_waiting = max_waiting
        self._waiting: deque[Asked] = deque()
        self._arrived = asyncio.Event()
        self._failure: BaseException | None = None
        self.last_failure: str | None = None
        """What went wrong with the last attempt, for the message of whoever gives up."""

    def ask(self, op: wire.AnyOperation) -> asyncio.Future[wire.AnyResult]:
        """Takes one operation, in the order of these calls; its answer comes whenever the ledger gives one.

        What cannot be sent is answered `Invalid` here. Raises TooMuchWaiting, where it is no operation that gives room
        back.
        """
        if self._failure is not None:
            raise RuntimeError("the ledger's client has ended") from self._failure
        check_room(len(self._waiting), self._max_waiting, op)
        asked = Asked.of(op)
        if not asked.answer.done():
            self.take(asked)
        return asked.answer

    def take(self, asked: Asked) -> None:
        """Takes one operation that somebody else was asked."""
        self._waiting.append(asked)
        self._arrived.set()

    def drain(self) -> list[Asked]:
        """What is not acknowledged yet, in order; it is this one's no more. `run` has to have ended."""
        waiting, self._waiting = list(self._waiting), deque()
        return [asked for asked in waiting if asked.due]

    async def run(self) -> None:
        """Sends until it is cancelled. Raises Misdirected; `drain` then has what was not done."""
        try:
            while True:
                await self._arrived.wait()
                await asyncio.sleep(0)  # whoever is ready to ask now goes along
                self._arrived.clear()
                while batch := self._take():
                    await self._deliver(batch)
        except Misdirected:
            raise
        except BaseException as error:
            self._failure = error
            for asked in self._waiting:
                asked.answer.cancel()
            raise

    def _take(self) -> list[Asked]:
        batch: list[Asked] = []
        size_bytes = 0
        while self._waiting and len(batch) < MAX_BATCH and size_bytes + len(self._waiting[0].body) <= MAX_BATCH_BYTES:
            asked = self._waiting.popleft()
            if asked.due:
                batch.append(asked)
                size_bytes += len(asked.body)
        return batch

    async def _deliver(self, batch: list[Asked]) -> None:
        attempt = 0
        while batch := [asked for asked in batch if asked.due]:
            for asked in batch:
                asked.sent = True
            tracing.carry(asked.trace for asked in batch)
            try:
                results = await self._attempt([msgspec.Raw(asked.body) for asked in batch])
            except AttemptFailed as failure:
                self.last_failure = str(failure)
                log.warning("the ledger did not answer", extra={"fields": {"cause": str(failure), "attempt": attempt}})
                pause_s = PAUSES_S[min(attempt, len(PAUSES_S) - 1)]
                await asyncio.sleep(pause_s * self._chance.uniform(0.9, 1.1))
                attempt += 1
                continue
            except Misdirected:
                self._waiting.extendleft(reversed(batch))
                raise
            self.last_failure = None
            for asked, result in zip(batch, results, strict=True):
                self._answered(asked, result)
            return

    async def _attempt(self, ops: list[msgspec.Raw]) -> list[wire.AnyResult]:
        try:
            async with asyncio.timeout(ATTEMPT_S):
                answer = await self._exchange(msgspec.json.encode(wire.Batch(ops)))
            results = _decoded(answer)
        except TimeoutError as error:
            raise AttemptFailed(f"no answer within {ATTEMPT_S:g} s") from error
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise AttemptFailed(f"an answer that is none: {error}") from error
        if len(results) != len(ops):
            raise AttemptFailed(f"{len(results)} answers to {len(ops)} operations")
        return results

    def _answered(self, asked: Asked, result: wire.AnyResult) -> None:
        if not asked.answer.done():
            asked.answer.set_result(result)
        else:
            self.give_back(asked.op, result)

    def give_back(self, op: wire.AnyOperation, result: wire.AnyResult) -> None:
        """Nobody took this answer: a hold that it granted is released, since nothing will be done with it.

        Not so one with a name: it outlives its holder, and what was granted may be a repeat of a hold that is in use.
        """
        if isinstance(op, wire.Reserve) and MARK in op.id and isinstance(result, wire.Granted):
            self.ask(wire.Release(op.id, "whoever asked for it went away before the answer came"))
