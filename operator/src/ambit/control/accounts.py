"""Which accounts of Budgets and Agents the ledger holds, as far as this process knows.

The ledger takes the same account twice without a change, so after a start, and whenever events of the ledger may have
been missed, all are put again. Parents come first: an account is put once the one above it is.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import msgspec

from ambit.ledger import wire
from ambit.ledger.amounts import Limit, Resource, Window
from ambit.ledger.client import AccountUnknown, LedgerClient, LedgerError, LedgerUnavailable
from ambit.policy import Account, AccountLimit


@dataclass(frozen=True)
class Parentless:
    """The account above is not held yet."""

    parent: str
    failed: bool
    """Whether putting it has failed: if not, it comes in a moment, and nothing need be said of it."""


@dataclass(frozen=True)
class SeenUsage:
    """An account's usage, and when it was asked for: its durations count from then."""

    usage: wire.Usage
    at: datetime


class Accounts:
    def __init__(self, ledger: LedgerClient) -> None:
        self._ledger = ledger
        self._held: dict[str, wire.PutAccount] = {}
        self._failed: set[str] = set()
        self.usages: dict[str, SeenUsage] = {}
        """The last usage that was seen, by path; kept by `mirror`."""
        self.active: dict[str, int] = {}
        """How many sessions of an Agent are open, by its path; kept by `mirror`."""

    def holds(self, path: str) -> bool:
        return path in self._held

    def root(self, path: str) -> str:
        """The account at the top of the tree that a held one is in."""
        held = self._held.get(path)
        while held is not None and held.parent is not None and held.parent in self._held:
            path = held.parent
            held = self._held[path]
        return path

    def forget(self) -> None:
        """Nothing is known any more; everything will be put again."""
        self._held.clear()
        self._failed.clear()

    async def put(self, account: Account, time_zone: str, generation: int) -> bool | Parentless:
        """Puts the account if it is not held so; whether that was needed. Raises LedgerUnavailable, LedgerError.

        `generation`: that of the object which says so, for the ledger's audit.
        """
        operation = put_operation(account, time_zone)
        if self._held.get(account.path) == operation:
            return False
        if account.parent is not None and account.parent not in self._held:
            return Parentless(account.parent, account.parent in self._failed)
        try:
            await self._ledger.put_account(msgspec.structs.replace(operation, generation=generation))
        except (LedgerUnavailable, LedgerError) as refused:
            self._failed.add(account.path)
            if not isinstance(refused, AccountUnknown):
                raise
            if account.parent is None:
                raise
            self._held.pop(account.parent, None)  # the ledger lost it: it has to be put again before
            return Parentless(account.parent, failed=False)
        self._held[account.path] = operation
        self._failed.discard(account.path)
        return True

    async def remove(self, path: str) -> None:
        """Removes the account, if the ledger has it: its spend stays, its sessions are killed."""
        with suppress(AccountUnknown):  # it never came to be
            await self._ledger.remove_account(wire.RemoveAccount(path))
        self._held.pop(path, None)
        self.usages.pop(path, None)
        self.active.pop(path, None)


def put_operation(account: Account, time_zone: str) -> wire.PutAccount:
    """What policy says an account is, in the ledger's words."""
    return wire.PutAccount(
        path=account.path,
        parent=account.parent,
        limits=ledger_limits(account.limits),
        time_zone=time_zone,
        concurrent_sessions=account.concurrent_sessions,
        enforcement=wire.Enforcement(account.enforcement),
        warn_at=account.warn_at,
        top_ups=tuple(
            wire.TopUp(each.id, Window(each.window), Resource(each.resource), each.amount) for each in account.top_ups
        ),
        when_exhausted=wire.WhenExhausted(account.when_exhausted),
        user_limits=None if account.user_limits is None else ledger_limits(account.user_limits),
    )


def ledger_limits(limits: Iterable[AccountLimit]) -> tuple[Limit, ...]:
    """What policy says the limits of an account are, in the ledger's words."""
    return tuple(Limit(Window(limit.window), Resource(limit.resource), limit.amount) for limit in limits)
