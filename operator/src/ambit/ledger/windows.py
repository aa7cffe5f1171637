"""When a window begins and ends. Pure: instants are milliseconds since the epoch, time is an argument.

A window that runs is never cut short, and none begins twice: a counter asks for the next one only when its own is over.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ambit.ledger.amounts import Window

MINUTE_MS, HOUR_MS = 60_000, 3_600_000
SHORTEST_DAY_MS = 23 * 3600 * 1000
"""A civil day on which summer time begins."""


@dataclass(frozen=True, slots=True)
class Span:
    """One window in time: from `start_ms` until before `end_ms`; None: it never ends."""

    start_ms: int
    end_ms: int | None

    def over(self, now_ms: int) -> bool:
        """Whether it has ended by `now_ms`."""
        return self.end_ms is not None and now_ms >= self.end_ms


LIFETIME = Span(0, None)


def is_zone(name: str) -> bool:
    """Whether `name` is a time zone we know (IANA)."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False  # OSError: a name that is a folder of the zone database
    return True


def window_at(window: Window, zone: str, now_ms: int) -> Span:
    """The window in which `now_ms` lies."""
    match window:
        case Window.LIFETIME:
            return LIFETIME
        case Window.MINUTE:
            start_ms = now_ms - now_ms % MINUTE_MS
            return Span(start_ms, start_ms + MINUTE_MS)
        case Window.HOUR:
            start_ms = now_ms - now_ms % HOUR_MS
            return Span(start_ms, start_ms + HOUR_MS)
        case Window.DAY:
            return _day(_civil_date(now_ms, zone), zone, now_ms)
        case Window.WEEK:
            today = _civil_date(now_ms, zone)
            monday = today - timedelta(days=today.weekday())
            return Span(_first_instant_ms(monday, zone), _first_instant_ms(monday + timedelta(days=7), zone))
        case Window.MONTH:
            first = _civil_date(now_ms, zone).replace(day=1)
            following = (first + timedelta(days=31)).replace(day=1)
            return Span(_first_instant_ms(first, zone), _first_instant_ms(following, zone))


def window_after(window: Window, ended_ms: int, old_zone: str, zone: str, now_ms: int) -> Span:
    """The window of `now_ms`, where the one before ended at `ended_ms` and was measured in `old_zone`.

    A change of zone begins when the running window ends. The first day of the new zone is then never shorter than the
    shortest day: changing the zone again and again buys no more windows than there are days.
    """
    if window is not Window.DAY or old_zone == zone:
        return window_at(window, zone, now_ms)
    earliest_end_ms = ended_ms + SHORTEST_DAY_MS
    day = _civil_date(earliest_end_ms, zone)
    while (end_ms := _first_instant_ms(day, zone)) < earliest_end_ms:
        day += timedelta(days=1)
    if now_ms < end_ms:
        return Span(ended_ms, end_ms)
    return window_at(window, zone, now_ms)


def _civil_date(instant_ms: int, zone: str) -> date:
    return datetime.fromtimestamp(instant_ms // 1000, ZoneInfo(zone)).date()


@lru_cache(maxsize=4096)
def _first_instant_ms(day: date, zone: str) -> int:
    # Where the clock skips midnight, fold=0 reads it by the offset before the change: the very instant of the change.
    midnight = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone))
    return int(midnight.astimezone(UTC).timestamp()) * 1000


def _day(day: date, zone: str, now_ms: int) -> Span:
    start_ms = _first_instant_ms(day, zone)
    end_ms = _first_instant_ms(day + timedelta(days=1), zone)
    while end_ms <= now_ms:
        # Clocks put back across midnight show the old date again after the new day has begun (St. John's until 2011).
        day += timedelta(days=1)
        start_ms, end_ms = end_ms, _first_instant_ms(day + timedelta(days=1), zone)
    return Span(start_ms, end_ms)
