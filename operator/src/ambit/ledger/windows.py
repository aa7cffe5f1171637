"""When a window begins and ends. Pure: instants are milliseconds since the epoch, time is an argument.

A window that runs is never cut short, and none begins twice: an account asks for the next one when its own is over.
An Hour begins when the clock of the zone shows a full hour; a Day, Week (Monday's) or Month (the first's) begins at the
first instant of its date. A Minute is the same everywhere.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from ambit.ledger.amounts import Window

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
SHORTEST_DAY_MS = 23 * HOUR_MS
"""A civil day on which summer time begins."""
_ONE_DAY, _MILLISECOND = timedelta(days=1), timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Span:
    """One window in time: from `start_ms` until before `end_ms`; None: it never ends."""

    start_ms: int
    end_ms: int | None

    def over(self, now_ms: int) -> bool:
        """Whether it has ended by `now_ms`."""
        return self.end_ms is not None and now_ms >= self.end_ms


LIFETIME = Span(0, None)


@lru_cache(maxsize=4096)  # accounts turn together, and a replay asks what was asked before
def window_at(window: Window, zone: str, now_ms: int) -> Span:
    """The window in which `now_ms` lies."""
    match window:
        case Window.LIFETIME:
            return LIFETIME
        case Window.MINUTE:
            start_ms = now_ms - now_ms % MINUTE_MS
            return Span(start_ms, start_ms + MINUTE_MS)
        case Window.HOUR:
            return _hour(zone, now_ms)
        case Window.DAY | Window.WEEK | Window.MONTH:
            return _dates(window, zone, now_ms)


@lru_cache(maxsize=4096)
def window_after(window: Window, ended_ms: int, old_zone: str, zone: str, now_ms: int) -> Span:
    """The window of `now_ms`, where the one before ended at `ended_ms` and was measured in `old_zone`.

    A change of zone begins when the running window ends. The first one of the new zone goes on until the date that came
    next by the old zone is over by the new one, so that no date counts twice: changing the zone again and again buys no
    more Days, Weeks and Months than the calendar has. Nor does it make a Day much shorter than one, or an Hour at all.
    """
    if window in (Window.LIFETIME, Window.MINUTE) or old_zone == zone:
        return window_at(window, zone, now_ms)
    if window is Window.HOUR:
        end_ms = _full_hour(ended_ms + HOUR_MS, zone)
    else:
        first = _first_date(window, _civil_date(ended_ms, old_zone))
        earliest_end_ms = ended_ms + (SHORTEST_DAY_MS if window is Window.DAY else HOUR_MS)
        while (end_ms := _first_instant_ms(_next_date(window, first), zone)) < earliest_end_ms:
            first = _next_date(window, first)
    if now_ms < end_ms:
        return Span(ended_ms, end_ms)
    return window_at(window, zone, now_ms)


def window_when(window: Window, zones: Sequence[tuple[int, str]], instant_ms: int) -> Span:
    """The window that ran at `instant_ms`, as `window_at` and `window_after` said it then.

    `zones`: those that the account had, oldest first, each with the instant from which on.
    """
    (_, zone), *changes = zones
    measured = _Measured(window_at(window, zone, min([instant_ms, *(at_ms for at_ms, _ in changes[:1])])), zone)
    for at_ms, new_zone in changes:
        if at_ms > instant_ms:
            break
        measured = measured.at(window, zone, at_ms)
        zone = new_zone
    return measured.at(window, zone, instant_ms).span


class _Measured(NamedTuple):
    span: Span
    zone: str

    def at(self, window: Window, zone: str, now_ms: int) -> "_Measured":
        """The one of `now_ms`, where the account's zone is `zone` since before this one ended."""
        if self.span.end_ms is None or now_ms < self.span.end_ms:
            return self
        return _Measured(window_after(window, self.span.end_ms, self.zone, zone, now_ms), zone)


# -- hours


def _hour(zone: str, now_ms: int) -> Span:
    # Where the clock is put forward inside an hour, what is left of it belongs to the hour before: none is shorter.
    start_ms = _full_hour(now_ms - 2 * HOUR_MS, zone)
    while (end_ms := _full_hour(start_ms + HOUR_MS, zone)) <= now_ms:
        start_ms = end_ms
    return Span(start_ms, end_ms)


def _full_hour(earliest_ms: int, zone: str) -> int:
    """The first instant from `earliest_ms` at which the clock of `zone` shows a full hour."""
    offset_ms = _offset_ms(earliest_ms, zone)
    expected_ms = -(-(earliest_ms + offset_ms) // HOUR_MS) * HOUR_MS - offset_ms
    changed_ms = _offset_ms(expected_ms, zone)
    if changed_ms == offset_ms:
        return expected_ms
    # The clock changes on the way: by its new reading, the last full hour until then counts if it came afterwards.
    last_ms = (expected_ms + changed_ms) // HOUR_MS * HOUR_MS - changed_ms
    seen = last_ms >= earliest_ms and _offset_ms(last_ms, zone) == changed_ms
    return last_ms if seen else last_ms + HOUR_MS


def _offset_ms(instant_ms: int, zone: str) -> int:
    offset = datetime.fromtimestamp(instant_ms // 1000, ZoneInfo(zone)).utcoffset()
    if offset is None:
        raise ValueError(f"{zone} has no offset")
    return offset // _MILLISECOND


# -- dates


def _dates(window: Window, zone: str, now_ms: int) -> Span:
    first = _first_date(window, _civil_date(now_ms, zone))
    start_ms, end_ms = _first_instant_ms(first, zone), _first_instant_ms(_next_date(window, first), zone)
    while end_ms <= now_ms:
        # Clocks put back across midnight show the old date again after the new one has begun (St. John's until 2011).
        first = _next_date(window, first)
        start_ms, end_ms = end_ms, _first_instant_ms(_next_date(window, first), zone)
    return Span(start_ms, end_ms)


def _civil_date(instant_ms: int, zone: str) -> date:
    return datetime.fromtimestamp(instant_ms // 1000, ZoneInfo(zone)).date()


def _first_date(window: Window, day: date) -> date:
    """The date on which the Day, Week or Month of `day` begins."""
    match window:
        case Window.WEEK:
            return day - day.weekday() * _ONE_DAY
        case Window.MONTH:
            return day.replace(day=1)
        case _:
            return day


def _next_date(window: Window, first: date) -> date:
    """The date on which the one after that begins."""
    match window:
        case Window.WEEK:
            return first + 7 * _ONE_DAY
        case Window.MONTH:
            return (first + 31 * _ONE_DAY).replace(day=1)
        case _:
            return first + _ONE_DAY


@lru_cache(maxsize=4096)
def _first_instant_ms(day: date, zone: str) -> int:
    """The first instant of `day`; of one that did not take place, that of the next one that did."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone))
    # Of two midnights the first; of one that the clock skips, the reading by the offset before is after the change, and
    # that by the offset behind it is before it. The change itself is where the date appears.
    late_s = int(midnight.astimezone(UTC).timestamp())
    early_s = min(late_s, int(midnight.replace(fold=1).astimezone(UTC).timestamp()))
    if _civil_date(late_s * 1000, zone) < day:
        raise ValueError(f"{zone} has no {day}")
    skipped = datetime.fromtimestamp(late_s, midnight.tzinfo).replace(tzinfo=None) != midnight.replace(tzinfo=None)
    if not skipped:
        return late_s * 1000
    return bisect_left(range(early_s, late_s), day, key=lambda s: _civil_date(s * 1000, zone)) * 1000 + early_s * 1000
