"""Which limits of a Budget refuse, and why: in words, and as Events. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ambit.api.budget import BudgetStatus, ResourceName, Window, WindowUsage
from ambit.control.events import Telling, worth_telling
from ambit.control.reconcilers.budget.usage import REASONS, Room, amount_text, room_of
from ambit.ledger import wire
from ambit.telemetry.reasons import Progress

SHADOW: Final = "in Shadow: it refuses nothing"
_BY_LIMIT: Final = frozenset(reason.value for reason in REASONS.values())


@dataclass(frozen=True)
class Shortfall:
    """A limit that refuses, in words."""

    reason: Progress
    message: str
    identity: str
    """The limit, its window that runs, and the reason: told of once."""


def shortfalls(usage: wire.Usage, windows: Iterable[WindowUsage]) -> tuple[Shortfall, ...]:
    """What refuses of the limits whose windows are shown as `windows`; where nothing is left comes first."""
    shown = {window.window: window for window in windows}
    found = [(room, limit) for limit in usage.limits if (room := room_of(limit)) is not Room.LEFT]
    found.sort(key=lambda each: -each[0])
    return tuple(_shortfall(room, limit, shown[Window(limit.window.value)]) for room, limit in found)


def _shortfall(room: Room, limit: wire.LimitUsage, window: WindowUsage) -> Shortfall:
    reason, resource = REASONS[room], ResourceName(limit.resource.value)
    return Shortfall(reason, _message(room, limit, window.end), _identity(window, resource, reason.value))


def _message(room: Room, limit: wire.LimitUsage, end: str | None) -> str:
    def text(amount: int) -> str:
        return amount_text(ResourceName(limit.resource.value), amount)

    bound, again = f"{limit.resource} per {limit.window}", f", room again at {end}" if end else ""
    if room is Room.NONE:
        return f"{bound}: {text(limit.spent)} of {text(limit.limit)} spent{again}"
    left = f"{text(limit.limit - limit.spent)} of {text(limit.limit)} left"
    if limit.refused_from > limit.limit:
        again = ", which is above the limit itself"
    return f"{bound}: {left}, and what was refused needed {text(limit.refused_from)} or more{again}"


def tellings(
    before: BudgetStatus, after: BudgetStatus, found: Sequence[Shortfall], *, shadow: bool
) -> Iterator[Telling]:
    """What of a change of status a person should see; of each limit that refuses, once in a window."""
    for telling in worth_telling(before.conditions, after.conditions):
        if telling.reason not in _BY_LIMIT:
            yield telling
    known = {
        _identity(window, usage.resource, usage.reason)
        for window in before.limits
        for usage in window.usage
        if usage.reason is not None
    }
    for each in found:
        if each.identity not in known:
            note = f"{each.message}; {SHADOW}" if shadow else each.message
            yield Telling(each.reason.value, note, warning=not shadow, once=each.identity)


def _identity(window: WindowUsage, resource: ResourceName, reason: str) -> str:
    return f"{window.window}/{window.start or ''}/{resource}/{reason}"
