"""A Budget's limits as its status shows them, from what the ledger has counted. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from fractions import Fraction
from typing import Final

from ambit.api.budget import ResourceName, ResourceUsage, TightestLimit, Window, WindowUsage
from ambit.api.conditions import timestamp
from ambit.api.quantities import format_count, format_duration_ms, format_usd_nanos
from ambit.control.accounts import SeenUsage
from ambit.ledger import wire
from ambit.ledger.amounts import Window as CountedWindow
from ambit.ledger.windows import window_at
from ambit.telemetry.reasons import Progress


class Room(IntEnum):
    """What a limit has left, ascending by how bad that is."""

    LEFT = 0
    TOO_LITTLE = 1
    """Less than what was refused needed."""
    NONE = 2


REASONS: Final = {Room.TOO_LITTLE: Progress.TOO_LITTLE_LEFT, Room.NONE: Progress.LIMIT_EXHAUSTED}


def room_of(limit: wire.LimitUsage) -> Room:
    """What is spent decides, not what is held; and a Minute's window never exhausts anything."""
    if limit.window is CountedWindow.MINUTE:
        return Room.LEFT
    if limit.spent >= limit.limit:
        return Room.NONE
    return Room.TOO_LITTLE if limit.refused_from else Room.LEFT


def windows_of(seen: SeenUsage, time_zone: str) -> tuple[WindowUsage, ...]:
    """One entry a window, in the order of the spec's limits as the ledger has them."""
    windows: dict[Window, list[wire.LimitUsage]] = {}
    for limit in seen.usage.limits:
        windows.setdefault(Window(limit.window.value), []).append(limit)
    return tuple(_window(window, limits, time_zone, seen.at) for window, limits in windows.items())


def tightest_of(limits: Sequence[wire.LimitUsage]) -> TightestLimit | None:
    """The limit that is nearest to refusing; a Minute's, which is a rate, only where there is no other."""
    lasting = [limit for limit in limits if limit.window is not CountedWindow.MINUTE] or limits
    if not lasting:
        return None
    limit = max(lasting, key=lambda each: (room_of(each), _share(each)))
    resource = ResourceName(limit.resource.value)
    return TightestLimit(
        used=f"{int(_share(limit) * 100)}% {limit.resource}/{limit.window}",
        spent=amount_text(resource, limit.spent),
        limit=amount_text(resource, limit.limit),
    )


def _share(limit: wire.LimitUsage) -> Fraction:
    """What is spent of it; all of one that allows nothing."""
    return Fraction(limit.spent, limit.limit) if limit.limit else Fraction(1)


def _window(window: Window, limits: list[wire.LimitUsage], time_zone: str, at: datetime) -> WindowUsage:
    entry = WindowUsage(window=window, usage=tuple(_resource(limit) for limit in limits))
    resets_in_ms = limits[0].resets_in_ms
    if window is Window.MINUTE or resets_in_ms is None:
        # A Minute's bounds would be out of date as soon as they are written.
        return entry
    start, end = window_bounds(window, at, resets_in_ms, time_zone)
    if limits[0].began_ms_ago is not None:
        # After a change of the zone the window that runs is still measured in the one before, and the next is a longer
        # one: the ledger alone knows. (One of the release before does not say.)
        start = end - timedelta(milliseconds=limits[0].began_ms_ago + resets_in_ms)
    return entry.model_copy(update={"start": timestamp(start), "end": timestamp(end)})


def window_bounds(window: Window, at: datetime, resets_in_ms: int, time_zone: str) -> tuple[datetime, datetime]:
    """The running window, from how long it still lasts by the ledger's clock.

    The answer travels for some milliseconds; windows end at whole minutes, so the nearest one is meant.
    """
    rough = at + timedelta(milliseconds=resets_in_ms) + timedelta(seconds=30)
    end = rough.astimezone(UTC).replace(second=0, microsecond=0)
    span = window_at(CountedWindow(window.value), time_zone, int(end.timestamp() * 1000) - 1)
    return datetime.fromtimestamp(span.start_ms / 1000, UTC), end


def _resource(limit: wire.LimitUsage) -> ResourceUsage:
    resource, reason = ResourceName(limit.resource.value), REASONS.get(room_of(limit))
    return ResourceUsage(
        resource=resource,
        limit=amount_text(resource, limit.limit),
        spent=amount_text(resource, limit.spent),
        held=amount_text(resource, limit.held),
        remaining=amount_text(resource, max(limit.limit - limit.spent - limit.held, 0)),
        reason=None if reason is None else reason.value,
        refused_from=amount_text(resource, limit.refused_from) if limit.refused_from else None,
    )


def amount_text(resource: ResourceName, amount: int) -> str:
    """An amount in the words of a status."""
    match resource:
        case ResourceName.USD:
            return format_usd_nanos(amount)
        case ResourceName.RUNTIME:
            return format_duration_ms(amount)
        case ResourceName.TOKENS | ResourceName.INPUT_TOKENS | ResourceName.OUTPUT_TOKENS | ResourceName.MODEL_CALLS:
            return format_count(amount)
