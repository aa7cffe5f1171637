"""What the ledger counts, mirrored for status: usage of Budgets, open sessions of Agents.

The ledger is asked once a second about the Budget at the top of each tree, in whose figures all is counted that
happens below, and about all of a tree in which something has happened; more and more seldom, down to every ten seconds,
about the rest. Nothing is written here; whoever shows a figure is told to look when it changed.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
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
TOPS_A_TICK: Final = 1_000
"""How many trees are asked about at a time, a twentieth of the ledger's time; where there are more, they take turns."""

_log = logging.getLogger(__name__)


class Rest:
    """How long each path rests: a second after a change, then half as long again each time, up to ten."""

    def __init__(self) -> None:
        self._rests: dict[str, float] = {}
        self._due: dict[str, float] = {}

    def due(self, path: str, now: float) -> bool:
        return self._due.get(path, now) <= now

    def seen(self, path: str, now: float, *, changed: bool, at_most_s: float = LONGEST_REST_S) -> None:
        """`at_most_s`: until it changes without anything happening, as where a window of time ends."""
        rest = TICK_S if changed else min(self._rests.get(path, TICK_S) * 1.5, LONGEST_REST_S)
        self._rests[path] = rest
        # Half a tick less: a tick that comes a moment early must not skip it.
        self._due[path] = now + min(rest - TICK_S / 2, at_most_s)

    def end(self, path: str) -> None:
        """Something has happened that may have changed it."""
        self._rests.pop(path, None)
        self._due.pop(path, None)

    def keep_only(self, paths: set[str]) -> None:
        for path in self._due.keys() - paths:
            self.end(path)


class Turns:
    """Who is asked next, where not all are asked at once."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._asked = 0

    def next(self, paths: Sequence[str]) -> Sequence[str]:
        """At most as many as are asked at once, from the one after the last on."""
        if len(paths) <= self._at_once:
            return paths
        first = self._asked % len(paths)
        self._asked = first + self._at_once
        return [*paths[first:], *paths[:first]][: self._at_once]


class Mirror:
    def __init__(
        self, world: World, accounts: Accounts, ledger: LedgerClient, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._world = world
        self._accounts = accounts
        self._ledger = ledger
        self._rest = Rest()
        self._turns = Turns(TOPS_A_TICK)
        self._totals: dict[str, tuple[object, ...]] = {}
        self._clock = clock

    async def run(self) -> NoReturn:
        """Looks once a second until cancelled."""
        while True:
            with suppress(LedgerUnavailable):  # the reconcilers say so where it matters
                await self.look()
            await asyncio.sleep(TICK_S)

    async def look(self) -> None:
        """Asks about the tops, in one batch, and then in another about everything that is due."""
        budgets = [budget_path(*key) for key in self._world.budgets.items]
        agents = [agent_path(*key) for key in self._world.agents.items]
        held = [path for path in budgets + agents if self._accounts.holds(path)]
        below = defaultdict[str, list[str]](list)
        for path in held:
            below[self._accounts.root(path)].append(path)
        self._rest.keep_only(set(held))
        tops = self._turns.next([path for path in budgets if path in below])
        self._totals = {path: total for path, total in self._totals.items() if path in below}
        for top, stirred in zip(tops, await asyncio.gather(*map(self._stirs, tops)), strict=True):
            for path in below[top] if stirred else ():
                self._rest.end(path)
        now = self._clock()
        await asyncio.gather(*(self._look_at(path) for path in held if self._rest.due(path, now)))

    async def _stirs(self, top: str) -> bool:
        """Whether anything has happened in its tree since it was last asked about."""
        try:
            usage = await self._ledger.usage(wire.GetUsage(top))
        except AccountUnknown:
            return True
        total = (usage.spent, usage.held, usage.sessions, tuple(limit.refused_from for limit in usage.limits))
        before, self._totals[top] = self._totals.get(top), total
        return before != total

    async def _look_at(self, path: str) -> None:
        try:
            is_budget = AccountName.parse(path).kind == BUDGET_ACCOUNT
            changed = await (self._usage(path) if is_budget else self._sessions(path))
        except AccountUnknown:
            return  # removed, or forgotten by the ledger; its reconciler puts it again
        self._rest.seen(path, self._clock(), changed=changed, at_most_s=self._next_turn_s(path))
        if changed:
            self._world.look_at_account(path)

    def _next_turn_s(self, path: str) -> float:
        """When the next of an account's windows ends."""
        seen = self._accounts.usages.get(path)
        turns_ms = () if seen is None else (limit.resets_in_ms for limit in seen.usage.limits)
        return min((turn_ms / 1000 for turn_ms in turns_ms if turn_ms is not None), default=LONGEST_REST_S)

    async def _usage(self, path: str) -> bool:
        seen = SeenUsage(await self._ledger.usage(wire.GetUsage(path)), datetime.now(UTC))
        before = self._accounts.usages.get(path)
        self._accounts.usages[path] = seen
        return before is None or _shown(before) != _shown(seen)

    async def _sessions(self, path: str) -> bool:
        active = (await self._ledger.usage(wire.GetUsage(path))).sessions
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
