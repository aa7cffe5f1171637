"""What the ledger counts, mirrored for status: usage of Budgets, open sessions of Agents.

The ledger is asked once a second about what has just changed, and more and more seldom, down to every ten seconds,
about what has not. Nothing is written here; whoever shows a figure is told to look when it changed.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, NoReturn

from ambit.api.budget import Window
from ambit.api.names import BUDGET_ACCOUNT, AccountName, agent_path, budget_path
from ambit.control.accounts import Accounts, SeenUsage
from ambit.control.reconcilers.budget.usage import window_bounds
from ambit.control.world import World
from ambit.ledger import wire
from ambit.ledger.client import AccountUnknown, LedgerClient, LedgerUnavailable

TICK_S: Final = 1.0
LONGEST_REST_S: Final = 10.0

_log = logging.getLogger(__name__)


class Rest:
    """How long each path rests: a second after a change, then half as long again each time, up to ten."""

    def __init__(self) -> None:
        self._rests: dict[str, float] = {}
        self._due: dict[str, float] = {}

    def due(self, path: str, now: float) -> bool:
        return self._due.get(path, now) <= now

    def seen(self, path: str, now: float, *, changed: bool) -> None:
        rest = TICK_S if changed else min(self._rests.get(path, TICK_S) * 1.5, LONGEST_REST_S)
        self._rests[path] = rest
        self._due[path] = now + rest - TICK_S / 2  # a tick that comes a moment early must not skip it

    def keep_only(self, paths: set[str]) -> None:
        for path in self._due.keys() - paths:
            del self._due[path], self._rests[path]


class Mirror:
    def __init__(self, world: World, accounts: Accounts, ledger: LedgerClient) -> None:
        self._world = world
        self._accounts = accounts
        self._ledger = ledger
        self._rest = Rest()
        self._clock: Callable[[], float] = asyncio.get_running_loop().time

    async def run(self) -> NoReturn:
        """Looks once a second until cancelled."""
        while True:
            with suppress(LedgerUnavailable):  # the reconcilers say so where it matters
                await self.look()
            await asyncio.sleep(TICK_S)

    async def look(self) -> None:
        """Asks about everything that is due, in one batch."""
        budgets = [budget_path(*key) for key in self._world.budgets.items]
        agents = [agent_path(*key) for key in self._world.agents.items]
        self._rest.keep_only({*budgets, *agents})
        now = self._clock()
        due = [path for path in budgets + agents if self._accounts.holds(path) and self._rest.due(path, now)]
        await asyncio.gather(*(self._look_at(path) for path in due))

    async def _look_at(self, path: str) -> None:
        try:
            is_budget = AccountName.parse(path).kind == BUDGET_ACCOUNT
            changed = await (self._usage(path) if is_budget else self._sessions(path))
        except AccountUnknown:
            return  # removed, or forgotten by the ledger; its reconciler puts it again
        self._rest.seen(path, self._clock(), changed=changed)
        if changed:
            self._world.look_at_account(path)

    async def _usage(self, path: str) -> bool:
        seen = SeenUsage(await self._ledger.usage(wire.GetUsage(path)), datetime.now(UTC))
        before = self._accounts.usages.get(path)
        self._accounts.usages[path] = seen
        return before is None or _shown(before) != _shown(seen)

    async def _sessions(self, path: str) -> bool:
        answer = await self._ledger.sessions(wire.ListSessions(path, state=wire.State.OPEN))
        active = len(answer.sessions)
        changed = self._accounts.active.get(path) != active
        self._accounts.active[path] = active
        return changed


def _shown(seen: SeenUsage) -> tuple[object, ...]:
    """What of a usage a Budget's status shows."""
    return tuple(
        (limit.window, limit.resource, limit.limit, limit.spent, limit.held, limit.refused_from, _end(seen, limit))
        for limit in seen.usage.limits
    )


def _end(seen: SeenUsage, limit: wire.LimitUsage) -> datetime | None:
    window = Window(limit.window.value)
    if window is Window.MINUTE or limit.resets_in_ms is None:
        return None
    return window_bounds(window, seen.at, limit.resets_in_ms, "Etc/UTC")[1]
