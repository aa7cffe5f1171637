"""What the limits of Budgets have refused for good in the windows that run, where there is no room for it yet.

By this a Budget of which a few cents are left, less than any call needs, can be told from one with room. In memory
alone: an agent that is refused again and again writes nothing for it. After a restart or a takeover a limit says
nothing of it until it refuses the next call; what is spent, which decides, is journalled as always.
"""

from typing import NamedTuple

import msgspec

from ambit.ledger.amounts import Resource, Window
from ambit.ledger.paths import kind_of
from ambit.ledger.state import State
from ambit.ledger.wire import Denial, LimitUsage, Usage

Place = tuple[str, Window, Resource]
"""A limit: its account, its window, what it limits."""


class Shortage(NamedTuple):
    """The least that a limit has refused for good since the window began that ran then."""

    begun_ms: int
    least: int


class Shortages:
    """At most one for each limit of a Budget."""

    def __init__(self) -> None:
        self._found: dict[Place, Shortage] = {}

    def note(self, state: State, denial: Denial) -> None:
        """Learns from a refusal, or from what Shadow would have refused. A Minute exhausts nothing."""
        window, resource, need = denial.window, denial.resource, denial.requested
        if window is None or resource is None or window is Window.MINUTE or kind_of(denial.account) != "budget":
            return
        if not _lacks_room(denial.limit, denial.spent, need):
            return  # room is only held by others: Shadow tells of that, too
        place = (denial.account, window, resource)
        begun_ms = state.accounts[denial.account].window_begun_ms(window)
        before = self._found.get(place)
        if before is not None and before.begun_ms == begun_ms and _lacks_room(denial.limit, denial.spent, before.least):
            need = min(need, before.least)
        self._found[place] = Shortage(begun_ms, need)

    def shown(self, usage: Usage, now_ms: int) -> Usage:
        """An account's usage at `now_ms`, with what is still refused of each limit."""
        if not self._found:
            return usage
        return msgspec.structs.replace(
            usage, limits=tuple(self._with(usage.path, limit, now_ms) for limit in usage.limits)
        )

    def _with(self, path: str, limit: LimitUsage, now_ms: int) -> LimitUsage:
        found = self._found.get((path, limit.window, limit.resource))
        begun_ms = 0 if limit.began_ms_ago is None else now_ms - limit.began_ms_ago
        if found is None or found.begun_ms != begun_ms or not _lacks_room(limit.limit, limit.spent, found.least):
            return limit
        return msgspec.structs.replace(limit, refused_from=found.least)


def _lacks_room(limit: int, spent: int, need: int) -> bool:
    """Whether what is spent alone, whatever is held, leaves no room."""
    return spent + need > limit
