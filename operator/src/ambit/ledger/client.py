"""What the other processes use to speak with the ledger."""

from collections.abc import AsyncIterator, Callable
from typing import Self

from ambit.ledger import wire


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

    async def __aenter__(self) -> Self:
        raise NotImplementedError

    async def __aexit__(self, *_: object) -> None:
        raise NotImplementedError

    async def put_account(self, op: wire.PutAccount) -> wire.AccountPut:
        raise NotImplementedError

    async def remove_account(self, op: wire.RemoveAccount) -> wire.AccountRemoved:
        raise NotImplementedError

    async def open(self, op: wire.Open) -> wire.Opened | wire.Refused:
        raise NotImplementedError

    async def reserve(self, op: wire.Reserve) -> wire.Granted | wire.Refused | wire.Wait:
        raise NotImplementedError

    async def extend(self, op: wire.Extend) -> wire.Granted | wire.Refused | wire.Wait:
        raise NotImplementedError

    async def settle(self, op: wire.Settle) -> wire.Settled | wire.AlreadySettled:
        raise NotImplementedError

    async def release(self, op: wire.Release) -> wire.Released | wire.AlreadySettled:
        raise NotImplementedError

    async def close(self, op: wire.Close) -> wire.SessionClosed:
        raise NotImplementedError

    async def kill(self, op: wire.Kill) -> wire.Killed:
        raise NotImplementedError

    async def usage(self, op: wire.GetUsage) -> wire.Usage:
        raise NotImplementedError

    async def sessions(self, op: wire.ListSessions) -> wire.Sessions:
        raise NotImplementedError

    def events(self) -> AsyncIterator[wire.AnyEvent]:
        """Events as they come. Reconnects; yields `Resynchronised` when it may have missed some."""
        raise NotImplementedError
