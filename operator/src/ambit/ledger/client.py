"""What the other processes use to speak with the ledger."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import dataclass
from itertools import count
from random import Random, SystemRandom
from types import TracebackType
from typing import Final, Protocol, Self, TypeVar

from ambit.ledger import wire
from ambit.ledger.amounts import Amount
from ambit.ledger.http_exchange import HttpLedger
from ambit.ledger.paging import all_pages
from ambit.ledger.routing.events import events_of_all
from ambit.ledger.routing.lanes import Lanes
from ambit.ledger.subscription import Heard
from ambit.ledger.transport import Exchange, TooMuchWaiting, Transport

R = TypeVar("R", bound=wire.Result)
DEADLINE_S: Final = 10.0


class LedgerUnavailable(Exception):
    """Nothing answered within the deadline. What was asked may have happened: ask again with the same id.

    A hold needs no care: the client releases it, should it turn out to have been granted.
    """


class LedgerBusy(LedgerUnavailable):
    """More waits for the ledger than this process keeps. Nothing was sent."""


class LedgerNotResumed(LedgerUnavailable):
    """The ledger was restored from a backup, and answers nothing else until `Resume`. Nothing was done."""


class LedgerError(Exception):
    """The ledger answered that the operation is wrong."""


class InvalidOperation(LedgerError):
    """The operation makes no sense."""


class AccountInOtherTree(InvalidOperation):
    """The account is counted in another tree, where it stays: trees are spread over several writers."""


class AccountUnknown(LedgerError):
    """There is no account at `path`, yet or any more."""

    def __init__(self, path: str) -> None:
        super().__init__(f"the ledger has no account {path}, yet or any more")
        self.path = path


class HoldUnknown(LedgerError):
    """There is no such hold, or none that is remembered."""


class HoldIdReused(LedgerError):
    """The id stands for another operation, or for one that is over: nothing is held by this one."""


class OperationForbidden(LedgerError):
    """This component may not do this."""


class EventSource(Protocol):
    """Where events come from: see `LedgerClient.events`."""

    def __call__(self, silence_ms: int | None, heard: Heard) -> AsyncGenerator[wire.AnyEvent]: ...


@dataclass(frozen=True, slots=True)
class Held:
    """A hold that was granted to this process, under an id of its own."""

    id: str
    granted: wire.Granted


def _nothing() -> None:
    pass


class LedgerClient:
    """One per process, used as an async context manager.

    `url` is the ledger's, e.g. `http://ambit-ledger.ambit-system:8090`; `token` gives the projected token of the
    moment. Every method raises `LedgerUnavailable` after its deadline (`deadline_s` unless given), and a `LedgerError`
    where the ledger says so. Operations reach the ledger in the order of their calls.
    """

    def __init__(
        self, url: str, token: Callable[[], str], *, deadline_s: float = DEADLINE_S, chance: Random | None = None
    ) -> None:
        http = HttpLedger(url, token)
        chance = chance or SystemRandom()
        lanes = Lanes(http, chance)

        def events(silence_ms: int | None, heard: Heard) -> AsyncGenerator[wire.AnyEvent]:
            return events_of_all(http, lanes, silence_ms, heard)

        self._http: HttpLedger | None = http
        self._start(lanes, events, deadline_s, chance)

    @classmethod
    def over(
        cls, exchange: Exchange, events: EventSource, *, chance: Random, deadline_s: float = DEADLINE_S
    ) -> "LedgerClient":
        """A client over another way to the ledger than HTTP, such as a simulated network."""
        client = cls.__new__(cls)
        client._http = None
        client._start(Transport(exchange, chance), events, deadline_s, chance)
        return client

    def _start(self, transport: Transport | Lanes, events: EventSource, deadline_s: float, chance: Random) -> None:
        self.holder = f"{chance.getrandbits(80):020x}"
        """This process's name at the ledger; the ids of its holds begin with it."""
        self._sequence = count(1)
        self._transport = transport
        self._events = events
        self._deadline_s = deadline_s
        self._running = AsyncExitStack()

    async def __aenter__(self) -> Self:
        if self._http is not None:
            await self._running.enter_async_context(self._http)
        sending = asyncio.create_task(self._transport.run(), name="ledger client")
        self._running.push_async_callback(_stop, sending)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._running.aclose()

    # -- holds -------------------------------------------------------------
    def next_id(self) -> str:
        """An id for a hold of this process. Use it at once: a later id that reaches the ledger first uses it up."""
        return f"{self.holder}#{next(self._sequence)}"

    async def hold(
        self,
        path: str,
        want: Amount,
        at_least: Amount,
        expires_in_ms: int,
        *,
        speculative: bool = False,
        deadline_s: float | None = None,
    ) -> Held | wire.Refused | wire.Wait:
        """Holds at least `at_least` and at most `want` on a session and all above it, under the next id.

        Whoever is cancelled, or no longer waits, holds nothing.
        """
        while True:
            op = wire.Reserve(self.next_id(), path, want, at_least, expires_in_ms, speculative)
            answer = await self._answer(op, deadline_s)
            if isinstance(answer, wire.Granted):
                return Held(op.id, answer)
            if isinstance(answer, wire.Refused | wire.Wait):
                return answer
            if not isinstance(answer, wire.IdReused | wire.AlreadySettled):
                raise _error_of(answer)
            # What it was first answered got lost and held nothing, and its id is used up.

    async def reserve(
        self, op: wire.Reserve, *, deadline_s: float | None = None
    ) -> wire.Granted | wire.Refused | wire.Wait:
        """The same under an id of the caller's choice. Raises HoldIdReused where that is used up."""
        answer = await self._answer(op, deadline_s)
        if isinstance(answer, wire.AlreadySettled):
            raise HoldIdReused(op.id)
        return _expected(answer, wire.Granted, wire.Refused, wire.Wait)

    async def extend(
        self, op: wire.Extend, *, deadline_s: float | None = None
    ) -> wire.Granted | wire.Refused | wire.Wait:
        """Adds to a hold, and moves its expiry. Raises HoldIdReused where the hold is over."""
        answer = await self._answer(op, deadline_s)
        if isinstance(answer, wire.AlreadySettled):
            raise HoldIdReused(op.id)
        return _expected(answer, wire.Granted, wire.Refused, wire.Wait)

    async def settle(self, op: wire.Settle, *, deadline_s: float | None = None) -> wire.Settled | wire.AlreadySettled:
        """Replaces a hold by what was used."""
        return _expected(await self._answer(op, deadline_s), wire.Settled, wire.AlreadySettled)

    async def release(
        self, op: wire.Release, *, deadline_s: float | None = None
    ) -> wire.Released | wire.AlreadySettled:
        """Drops a hold whose act provably did not happen."""
        return _expected(await self._answer(op, deadline_s), wire.Released, wire.AlreadySettled)

    def post(
        self, op: wire.Reserve | wire.Settle | wire.Release | wire.CountRefusals
    ) -> asyncio.Future[wire.AnyResult]:
        """Asks for as long as the ledger takes to answer: a future, where no task and no deadline are needed.

        Raises LedgerBusy for what gives no room back. Cancelling the future gives the operation up, as with any other.
        """
        try:
            return self._transport.ask(op)
        except TooMuchWaiting as error:
            raise LedgerBusy(str(error)) from error

    # -- sessions ----------------------------------------------------------
    async def open(self, op: wire.Open, *, deadline_s: float | None = None) -> wire.Opened | wire.Refused | wire.Wait:
        """Opens a session; `Wait` where as many are open as an account above allows at once."""
        return _expected(await self._answer(op, deadline_s), wire.Opened, wire.Refused, wire.Wait)

    async def close(self, op: wire.Close, *, deadline_s: float | None = None) -> wire.SessionClosed:
        """Ends a session."""
        return _expected(await self._answer(op, deadline_s), wire.SessionClosed)

    async def kill(self, op: wire.Kill, *, deadline_s: float | None = None) -> wire.Killed:
        """Kills a session, or all under an account."""
        return _expected(await self._answer(op, deadline_s), wire.Killed)

    async def usage(self, op: wire.GetUsage, *, deadline_s: float | None = None) -> wire.Usage:
        """Looks at one account."""
        return _expected(await self._answer(op, deadline_s), wire.Usage)

    async def sessions(self, op: wire.ListSessions, *, deadline_s: float | None = None) -> wire.Sessions:
        """Looks at the sessions under an account or of a namespace, page by page, each within the deadline."""
        return _expected(await all_pages(lambda page: self._answer(page, deadline_s), op), wire.Sessions)

    async def history(self, op: wire.GetHistory, *, deadline_s: float | None = None) -> wire.History:
        """Looks at what an account spent in the windows that ended."""
        return _expected(await self._answer(op, deadline_s), wire.History)

    # -- accounts: the operator's alone --------------------------------------
    async def put_account(self, op: wire.PutAccount, *, deadline_s: float | None = None) -> wire.AccountPut:
        """Makes a Budget's or Agent's account, or sets its limits."""
        return _expected(await self._answer(op, deadline_s), wire.AccountPut)

    async def remove_account(self, op: wire.RemoveAccount, *, deadline_s: float | None = None) -> wire.AccountRemoved:
        """Removes an account, killing its sessions."""
        return _expected(await self._answer(op, deadline_s), wire.AccountRemoved)

    async def adjust(self, op: wire.Adjust, *, deadline_s: float | None = None) -> wire.Adjusted:
        """Corrects what is spent."""
        return _expected(await self._answer(op, deadline_s), wire.Adjusted)

    async def resume(self, op: wire.Resume, *, deadline_s: float | None = None) -> wire.Resumed:
        """Ends the refusal of everything after a restore."""
        return _expected(await self._answer(op, deadline_s), wire.Resumed)

    async def accept_clock(self, op: wire.AcceptClock, *, deadline_s: float | None = None) -> wire.ClockAccepted:
        """Says that a clock which jumped forward is right."""
        return _expected(await self._answer(op, deadline_s), wire.ClockAccepted)

    # -- events ------------------------------------------------------------
    async def events(self, *, silence_ms: int | None = None, heard: Heard = _nothing) -> AsyncGenerator[wire.AnyEvent]:
        """Events as they come. Reconnects; yields `Resynchronised` first, and whenever it may have missed some.

        `heard` is called at each word of the ledger, at least every `silence_ms` while it can be heard at all (None:
        5 s): all that was journalled before that word has been yielded by then.
        """
        async with aclosing(self._events(silence_ms, heard)) as events:
            async for event in events:
                yield event

    # -- how ---------------------------------------------------------------
    async def _answer(self, op: wire.AnyOperation, deadline_s: float | None) -> wire.AnyResult:
        deadline_s = self._deadline_s if deadline_s is None else deadline_s
        try:
            answer = self._transport.ask(op)
        except TooMuchWaiting as error:
            raise LedgerBusy(str(error)) from error
        deadline = asyncio.get_running_loop().call_later(deadline_s, self._give_up, answer, deadline_s)
        try:
            return await answer
        except asyncio.CancelledError:
            if answer.done() and not answer.cancelled() and answer.exception() is None:
                self._transport.give_back(
                    op, answer.result()
                )  # it came in the same step of the loop as the caller's end
            raise
        finally:
            deadline.cancel()

    def _give_up(self, answer: asyncio.Future[wire.AnyResult], deadline_s: float) -> None:
        if not answer.done():
            cause = self._transport.last_failure or "no answer"
            answer.set_exception(LedgerUnavailable(f"nothing from the ledger within {deadline_s:g} s: {cause}"))


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def _expected(result: wire.AnyResult, *expected: type[R]) -> R:
    if isinstance(result, expected):
        return result
    raise _error_of(result)


def _error_of(result: wire.AnyResult) -> LedgerError | LedgerUnavailable:
    match result:
        case wire.Refused(reason=wire.RefusalReason.RESTORE_PENDING):
            return LedgerNotResumed(result.message)
        case wire.Invalid():
            return InvalidOperation(result.message)
        case wire.OtherTree():
            return AccountInOtherTree(result.message)
        case wire.UnknownAccount():
            return AccountUnknown(result.path)
        case wire.UnknownHold():
            return HoldUnknown(result.id)
        case wire.IdReused():
            return HoldIdReused(result.id)
        case wire.Forbidden():
            return OperationForbidden(result.message)
        case _:
            return LedgerError(f"an answer to another question: {type(result).__name__}")
