"""Keeps a call's hold alive at the ledger for as long as the call goes on, and grows it ahead of a stream's output.

One task for each call does both, since extensions of a hold come one after the other. What the relay tells it costs one
comparison for each piece of the stream. Whoever is told `over` cuts the stream at once.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Protocol

from ambit.gateway.holding_ahead.estimate import missing
from ambit.gateway.holds import Hold
from ambit.gateway.progressive.slices import Cover
from ambit.gateway.room_queue import RoomQueue, Ticket
from ambit.gateway.warnings import Warnings
from ambit.ledger import wire
from ambit.ledger.amounts import INDEX, Amount
from ambit.ledger.client import InvalidOperation, LedgerClient, LedgerError, LedgerUnavailable
from ambit.telemetry import metrics

ASK_AGAIN_S: Final = 0.1
_NOTHING: Final = Amount()


def is_final(denial: wire.Refused | wire.Wait, held: Amount) -> bool:
    """Whether nothing that others settle makes room for more of a hold of this amount: what is spent, and the hold
    itself, stand in the way.
    """
    mine = 0 if denial.resource is None else held.vector().get(INDEX[denial.resource], 0)
    return isinstance(denial, wire.Refused) or denial.spent + mine + denial.requested > denial.limit


class Over(Enum):
    """Why a call cannot go on."""

    LOST = auto()
    """Its hold expires, or is gone."""
    USED_UP = auto()
    """It has come to the end of what is held, and no more was granted in time."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a hold came to its end before its call did."""

    over: Over
    message: str
    spent: wire.Denial | None = None
    """The limit of which nothing is left, whatever others settle; None: others hold the rest, or nobody answered."""


class Priced(Protocol):
    """What output costs beside the call's input."""

    def amount(self, output_tokens: int) -> Amount:
        """What has to be held for so many output tokens, of all choices."""
        ...

    def covered(self, held: Amount) -> int:
        """How many output tokens, of all choices, are covered by what is held."""
        ...


@dataclass(frozen=True, slots=True)
class Caller:
    """For whom a hold grows."""

    session: str
    parent: str
    arrival: int
    """The queue's number of the call: the oldest stream takes its slice first."""


class GrowingHold:
    """The hold of one call. `over` is called once at most, where the call cannot go on."""

    def __init__(
        self,
        ledger: LedgerClient,
        queue: RoomQueue,
        warnings: Warnings,
        caller: Caller,
        hold: Hold,
        cover: Cover,
        priced: Priced,
        *,
        expires_in_ms: int,
        over: Callable[[Ended], None],
    ) -> None:
        self._ledger = ledger
        self._queue = queue
        self._warnings = warnings
        self._caller = caller
        self._hold = hold
        self._amount = hold.amount
        self._sequence = hold.next_sequence
        self._kept_until_s = hold.expires_at_s
        self._priced = priced
        self._expires_in_ms = expires_in_ms
        self._over = over
        self._cover = cover
        self._shown = 0
        self._blind = False
        self._quiet_up_to = cover.asks_beyond
        self._grows = True
        self._ticket: Ticket | None = None
        self._why = "the ledger did not answer in time"
        self._spent: wire.Denial | None = None
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._keep_at_s = self._loop.time() + expires_in_ms / 3000
        self._task = self._loop.create_task(self._run())

    # -- the relay -----------------------------------------------------------
    def shown(self, output_bound: int) -> None:
        """So much of the stream has come by now."""
        if output_bound - self._shown > self._cover.at_a_time:
            self._cover = self._cover.came(output_bound - self._shown)
            self._quiet_up_to = self._cover.asks_beyond
        self._shown = output_bound
        if self._blind or output_bound > self._quiet_up_to:
            self._blind = False
            self._follow()

    def blind(self) -> None:
        """What the provider writes cannot be seen: it is no stream, or the stream's reader holds it back. It may come
        to all that was asked for, which therefore has to be held, until more is seen.
        """
        if not self._blind:
            self._blind = True
            self._follow()

    def no_more(self) -> None:
        """The client is gone: nothing more is held for it."""
        self._grows = False
        self._why = "the client is gone"
        self._follow()

    def stop(self) -> None:
        """The call is over."""
        self._task.cancel()

    @property
    def most(self) -> int:
        """The most output that the call can have been billed by now, should its provider not say."""
        return max(self._cover.held, min(self._shown, self._cover.whole))

    # -- how -----------------------------------------------------------------
    @property
    def _seen(self) -> int | None:
        return None if self._blind else self._shown

    @property
    def _short(self) -> bool:
        """Whether more should be held by now."""
        return self._grows and self._cover.wanted(self._seen) > self._cover.held

    def _follow(self) -> None:
        used_up = not self._cover.enough(self._seen)
        # What cannot be seen for as long as the ledger takes to answer is no more than is held for what is under way.
        asking = self._blind and self._grows and self._ticket is None
        if used_up and not asking:
            self._end(Over.USED_UP, self._why)
        elif self._short:
            self._wake.set()

    def _end(self, over: Over, message: str) -> None:
        self._quiet_up_to = self._cover.whole
        if self._task.done() or self._task.cancelling():
            return
        self._task.cancel()
        self._over(Ended(over, message, self._spent))

    async def _run(self) -> None:
        unanswered: wire.Extend | None = None
        try:
            while True:
                grow = await self._turn()
                asked_at_s = self._loop.time()
                extend = unanswered or self._extension(grow)
                try:
                    answer = await self._ledger.extend(extend)
                except LedgerUnavailable:
                    # Asked again in the same words, as long as a third of the time is left before the expiry.
                    unanswered = extend
                    if self._loop.time() + self._expires_in_ms / 3000 >= self._kept_until_s:
                        self._end(Over.LOST, "the ledger is away and the hold expires")
                    await asyncio.sleep(ASK_AGAIN_S)
                    continue
                except InvalidOperation as error:
                    if extend.want == _NOTHING:
                        self._end(Over.LOST, str(error))
                    self._no_more_granted(str(error), None)
                    continue
                except LedgerError as error:
                    self._end(Over.LOST, str(error))
                    return
                unanswered = None
                self._answered(extend, answer, asked_at_s)
        finally:
            self._leave()

    async def _turn(self) -> bool:
        """Waits until there is something to ask; whether for more, or only for the expiry to be moved."""
        while True:
            left_s = self._keep_at_s - self._loop.time()
            if left_s <= 0:
                return self._short and self._ticket is None
            if self._ticket is not None and not self._short:
                self._leave()
            if self._ticket is not None:
                if await self._queue.turn(self._ticket, left_s):
                    return True
                continue
            if self._short:
                return True
            try:
                async with asyncio.timeout(left_s):
                    await self._wake.wait()
            except TimeoutError:
                continue
            self._wake.clear()

    def _extension(self, grow: bool) -> wire.Extend:
        if not grow:
            return wire.Extend(self._hold.id, self._sequence, self._expires_in_ms)
        want = missing(self._priced.amount(self._cover.wanted(self._seen)), self._amount)
        at_least = missing(self._priced.amount(self._cover.least(self._seen)), self._amount)
        return wire.Extend(self._hold.id, self._sequence, self._expires_in_ms, want, at_least)

    def _answered(
        self, extend: wire.Extend, answer: wire.Granted | wire.Refused | wire.Wait, asked_at_s: float
    ) -> None:
        grew = extend.want != _NOTHING
        if grew:
            metrics.GATEWAY_SLICES.labels(type(answer).__name__).inc()
        match answer:
            case wire.Granted():
                self._sequence += 1
                self._kept_until_s = asked_at_s + self._expires_in_ms / 1000
                self._keep_at_s = asked_at_s + self._expires_in_ms / 3000
                self._warnings.add(self._caller.session, answer.warnings)
                if grew:
                    self._leave()
                    self._amount = self._amount + answer.amount
                    self._cover = self._cover.grown(self._priced.covered(self._amount))
                    self._quiet_up_to = self._cover.asks_beyond
                    self._follow()
            case _ if not grew:
                self._end(Over.LOST, answer.message)
            case wire.Wait() if not is_final(answer, self._amount):
                self._queue_for(answer)
            case _:
                self._no_more_granted(answer.message, answer)

    def _queue_for(self, wait: wire.Wait) -> None:
        self._why = f"{wait.message}; calls under way hold the rest"
        if self._ticket is None:
            caller = self._caller
            self._ticket = self._queue.enter_under_way(wait.account, caller.session, caller.parent, caller.arrival)
        else:
            self._queue.move(self._ticket, wait.account)
        self._follow()

    def _no_more_granted(self, message: str, spent: wire.Denial | None) -> None:
        """The stream goes on to the end of what is held."""
        self._leave()
        self._grows = False
        self._why, self._spent = message, spent
        self._follow()

    def _leave(self) -> None:
        if self._ticket is not None:
            self._queue.leave(self._ticket)
            self._ticket = None
