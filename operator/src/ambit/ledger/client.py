"""What the other processes use to speak with the ledger."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from types import TracebackType
from typing import Self, TypeVar

import aiohttp

from ambit.ledger import wire
from ambit.ledger.subscription import subscribe
from ambit.ledger.transport import Transport

R = TypeVar("R", bound=wire.Result)


class LedgerUnavailable(Exception):
    """Nothing answered within the deadline. What was asked may have happened: ask again with the same id."""


class LedgerError(Exception):
    """The ledger answered that the operation is wrong."""


class InvalidOperation(LedgerError):
    """The operation makes no sense."""


class AccountUnknown(LedgerError):
    """There is no such account, yet or any more."""


class HoldUnknown(LedgerError):
    """There is no such hold, or none that is remembered."""


class HoldIdReused(LedgerError):
    """The id stands for another operation."""


class OperationForbidden(LedgerError):
    """This component may not do this."""


class LedgerClient:
    """One per process, used as an async context manager.

    `url` is the ledger's, e.g. `http://ambit-ledger.ambit-system:8090`; `token` gives the projected token of the
    moment. Every method raises `LedgerUnavailable` after `deadline_s`, and a `LedgerError` where the ledger says so.
    """

    def __init__(self, url: str, token: Callable[[], str], *, deadline_s: float = 10.0) -> None:
        self._url = url
        self._token = token
        self._deadline_s = deadline_s
        self._http: aiohttp.ClientSession | None = None
        self._transport: Transport | None = None
        self._sending: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession()
        self._transport = Transport(self._http, self._url, self._token)
        self._sending = asyncio.create_task(self._transport.run(), name="ledger client")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._sending is not None:
            self._sending.cancel()
            with suppress(asyncio.CancelledError):
                await self._sending
        if self._http is not None:
            await self._http.close()

    async def put_account(self, op: wire.PutAccount) -> wire.AccountPut:
        """Makes a Budget's or Agent's account, or sets its limits. The operator's alone."""
        return await self._ask(op, wire.AccountPut)

    async def remove_account(self, op: wire.RemoveAccount) -> wire.AccountRemoved:
        """Removes an account, killing its sessions. The operator's alone."""
        return await self._ask(op, wire.AccountRemoved)

    async def open(self, op: wire.Open) -> wire.Opened | wire.Refused:
        """Opens a session."""
        return await self._ask(op, wire.Opened, wire.Refused)

    async def reserve(self, op: wire.Reserve) -> wire.Granted | wire.Refused | wire.Wait:
        """Holds an amount on a session and all above it."""
        return await self._ask(op, wire.Granted, wire.Refused, wire.Wait)

    async def extend(self, op: wire.Extend) -> wire.Granted | wire.Refused | wire.Wait:
        """Adds to a hold, and moves its expiry."""
        return await self._ask(op, wire.Granted, wire.Refused, wire.Wait)

    async def settle(self, op: wire.Settle) -> wire.Settled | wire.AlreadySettled:
        """Replaces a hold by what was used."""
        return await self._ask(op, wire.Settled, wire.AlreadySettled)

    async def release(self, op: wire.Release) -> wire.Released | wire.AlreadySettled:
        """Drops a hold whose act provably did not happen."""
        return await self._ask(op, wire.Released, wire.AlreadySettled)

    async def close(self, op: wire.Close) -> wire.SessionClosed:
        """Ends a session."""
        return await self._ask(op, wire.SessionClosed)

    async def kill(self, op: wire.Kill) -> wire.Killed:
        """Kills a session, or all under an account."""
        return await self._ask(op, wire.Killed)

    async def usage(self, op: wire.GetUsage) -> wire.Usage:
        """Looks at one account."""
        return await self._ask(op, wire.Usage)

    async def sessions(self, op: wire.ListSessions) -> wire.Sessions:
        """Looks at the sessions under an account or of a namespace."""
        return await self._ask(op, wire.Sessions)

    async def events(self) -> AsyncGenerator[wire.AnyEvent]:
        """Events as they come. Reconnects; yields `Resynchronised` first, and whenever it may have missed some."""
        if self._http is None:
            raise RuntimeError("use the client as an async context manager")
        async with aclosing(subscribe(self._http, self._url, self._token)) as events:
            async for event in events:
                yield event

    async def _ask(self, op: wire.AnyOperation, *expected: type[R]) -> R:
        if self._transport is None:
            raise RuntimeError("use the client as an async context manager")
        try:
            async with asyncio.timeout(self._deadline_s):
                result = await self._transport.ask(op)
        except TimeoutError as error:
            cause = self._transport.last_failure or "no answer"
            raise LedgerUnavailable(f"nothing from the ledger within {self._deadline_s:g} s: {cause}") from error
        if isinstance(result, expected):
            return result
        raise _error_of(result)


def _error_of(result: wire.AnyResult) -> LedgerError:
    match result:
        case wire.Invalid():
            return InvalidOperation(result.message)
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
