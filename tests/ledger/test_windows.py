"""When windows begin and end, across summer time, month ends, leap days and changes of zone."""

import itertools
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ambit.api.time_zones import is_time_zone
from ambit.ledger.amounts import Window
from ambit.ledger.windows import LIFETIME, Span, window_after, window_at

HOUR_MS = 3_600_000


def ms(text: str) -> int:
    """An ISO 8601 instant as milliseconds."""
    return int(datetime.fromisoformat(text).timestamp()) * 1000


def span(start: str, end: str) -> Span:
    return Span(ms(start), ms(end))


@pytest.mark.parametrize(
    ("zone", "now", "expected", "hours"),
    [
        ("Etc/UTC", "2026-01-01T12:00:00Z", span("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"), 24),
        ("Etc/UTC", "2026-01-01T00:00:00Z", span("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"), 24),
        ("Europe/Berlin", "2026-01-01T23:30:00Z", span("2026-01-02T00:00:00+01:00", "2026-01-03T00:00:00+01:00"), 24),
        # Summer time begins and ends.
        ("Europe/Berlin", "2026-03-29T12:00:00Z", span("2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00"), 23),
        ("Europe/Berlin", "2026-10-25T12:00:00Z", span("2026-10-25T00:00:00+02:00", "2026-10-26T00:00:00+01:00"), 25),
        (
            "America/New_York",
            "2026-03-08T12:00:00Z",
            span("2026-03-08T00:00:00-05:00", "2026-03-09T00:00:00-04:00"),
            23,
        ),
        # Midnight does not exist (Cairo's summer time begins at it), or the day before ends twice (São Paulo, 2018).
        ("Africa/Cairo", "2026-04-24T12:00:00Z", span("2026-04-24T01:00:00+03:00", "2026-04-25T00:00:00+03:00"), 23),
        (
            "America/Sao_Paulo",
            "2018-02-18T02:30:00Z",
            span("2018-02-17T00:00:00-02:00", "2018-02-18T00:00:00-03:00"),
            25,
        ),
        # The clock is put back across midnight (St. John's, until 2011): the new day has begun and stays.
        (
            "America/St_Johns",
            "2010-11-07T03:00:00Z",
            span("2010-11-07T00:00:00-02:30", "2010-11-08T00:00:00-03:30"),
            25,
        ),
        # A day that did not take place (Samoa crossed the date line).
        ("Pacific/Apia", "2011-12-30T09:00:00Z", span("2011-12-29T00:00:00-10:00", "2011-12-31T00:00:00+14:00"), 24),
    ],
)
def test_a_day_is_the_civil_day_of_its_zone(zone: str, now: str, expected: Span, hours: int) -> None:
    found = window_at(Window.DAY, zone, ms(now))
    assert found == expected
    assert found.end_ms is not None
    assert found.end_ms - found.start_ms == hours * HOUR_MS


@pytest.mark.parametrize(
    ("zone", "now", "expected"),
    [
        # A zone may be half an hour or three quarters off the others.
        ("Asia/Kolkata", "2026-01-01T12:10:00Z", span("2026-01-01T17:00:00+05:30", "2026-01-01T18:00:00+05:30")),
        ("Asia/Kathmandu", "2026-01-01T12:10:00Z", span("2026-01-01T17:00:00+05:45", "2026-01-01T18:00:00+05:45")),
        # By a whole hour: each showing of the clock is an hour of its own.
        ("Europe/Berlin", "2026-10-25T00:30:00Z", span("2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00")),
        ("Europe/Berlin", "2026-10-25T01:30:00Z", span("2026-10-25T02:00:00+01:00", "2026-10-25T03:00:00+01:00")),
        # By half an hour (Lord Howe): the hour goes on until the clock shows a full one again.
        ("Australia/Lord_Howe", "2026-10-03T15:45:00Z", span("2026-10-04T01:00:00+10:30", "2026-10-04T03:00:00+11:00")),
        ("Australia/Lord_Howe", "2026-04-04T15:15:00Z", span("2026-04-05T01:00:00+11:00", "2026-04-05T02:00:00+10:30")),
        # Put forward from half past (Caracas, 2016): half an hour is not an hour.
        ("America/Caracas", "2016-05-01T07:15:00Z", span("2016-05-01T02:00:00-04:30", "2016-05-01T04:00:00-04:00")),
    ],
)
def test_an_hour_begins_at_a_full_hour_of_its_zone_and_is_never_shorter(zone: str, now: str, expected: Span) -> None:
    assert window_at(Window.HOUR, zone, ms(now)) == expected


@pytest.mark.parametrize(
    ("zone", "now", "expected"),
    [
        # Sunday's last second, Monday's first, and across a year's end (ISO week 53 of 2026).
        ("Etc/UTC", "2026-01-04T23:59:59Z", span("2025-12-29T00:00:00Z", "2026-01-05T00:00:00Z")),
        ("Etc/UTC", "2026-01-05T00:00:00Z", span("2026-01-05T00:00:00Z", "2026-01-12T00:00:00Z")),
        ("Asia/Tokyo", "2026-12-31T15:00:00Z", span("2026-12-28T00:00:00+09:00", "2027-01-04T00:00:00+09:00")),
        # The week in which summer time begins.
        ("Europe/Berlin", "2026-03-29T12:00:00Z", span("2026-03-23T00:00:00+01:00", "2026-03-30T00:00:00+02:00")),
    ],
)
def test_a_week_begins_on_monday(zone: str, now: str, expected: Span) -> None:
    assert window_at(Window.WEEK, zone, ms(now)) == expected


@pytest.mark.parametrize(
    ("zone", "now", "expected"),
    [
        ("Etc/UTC", "2026-01-31T23:59:59Z", span("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z")),
        ("Etc/UTC", "2026-12-31T12:00:00Z", span("2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z")),
        ("Etc/UTC", "2028-02-29T12:00:00Z", span("2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z")),
        ("Etc/UTC", "2026-02-28T23:59:59Z", span("2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z")),
        ("Europe/Berlin", "2026-03-31T22:00:00Z", span("2026-04-01T00:00:00+02:00", "2026-05-01T00:00:00+02:00")),
        ("Europe/Berlin", "2026-03-31T21:59:59Z", span("2026-03-01T00:00:00+01:00", "2026-04-01T00:00:00+02:00")),
    ],
)
def test_a_month_begins_on_its_first_date(zone: str, now: str, expected: Span) -> None:
    assert window_at(Window.MONTH, zone, ms(now)) == expected


def test_a_date_begins_with_its_first_instant_where_the_clock_skips_more_than_midnight() -> None:
    """Toronto, 1919: from half past eleven to half past midnight."""
    day = window_at(Window.DAY, "America/Toronto", ms("1919-03-31T12:00:00Z"))
    assert day.start_ms == ms("1919-03-31T00:30:00-04:00")


def test_a_minute_begins_on_the_minute() -> None:
    start = ms("2026-01-01T12:00:00Z")
    assert window_at(Window.MINUTE, "Europe/Berlin", start + 59_999) == Span(start, start + 60_000)
    assert window_at(Window.MINUTE, "Europe/Berlin", start + 60_000) == Span(start + 60_000, start + 120_000)


def test_a_lifetime_never_ends() -> None:
    assert window_at(Window.LIFETIME, "Etc/UTC", 5) == LIFETIME
    assert not LIFETIME.over(2**60)


def test_a_change_of_zone_begins_when_the_running_day_ends() -> None:
    ended = ms("2026-01-02T00:00:00Z")
    first = window_after(Window.DAY, ended, "Etc/UTC", "Asia/Tokyo", ended)
    assert first.start_ms == ended
    assert first.end_ms == ms("2026-01-04T00:00:00+09:00")


def test_a_change_of_zone_hardly_moves_a_week_or_a_month() -> None:
    ended = ms("2026-06-01T00:00:00Z")  # a Monday, and a month's end
    week = window_after(Window.WEEK, ended, "Etc/UTC", "Asia/Tokyo", ended)
    month = window_after(Window.MONTH, ended, "Etc/UTC", "America/New_York", ended)
    assert week == Span(ended, ms("2026-06-08T00:00:00+09:00"))
    assert month == Span(ended, ms("2026-07-01T00:00:00-04:00"))


def test_an_hour_after_a_change_of_zone_ends_at_a_full_one_of_the_new_zone() -> None:
    ended = ms("2026-01-01T12:00:00Z")
    assert window_after(Window.HOUR, ended, "Etc/UTC", "Europe/Berlin", ended) == Span(ended, ended + HOUR_MS)
    first = window_after(Window.HOUR, ended, "Etc/UTC", "Asia/Kolkata", ended)
    assert first == Span(ended, ended + HOUR_MS + HOUR_MS // 2)


ALL_ZONES = sorted(filter(is_time_zone, available_timezones()))
ZONES = st.sampled_from(ALL_ZONES)
INSTANTS = st.integers(ms("1995-01-01T00:00:00Z"), ms("2036-01-01T00:00:00Z"))
SHORTEST_HOURS = {Window.HOUR: 1, Window.DAY: 21, Window.WEEK: 6 * 24, Window.MONTH: 28 * 24 - 3}
"""Clocks cut them short: Danmarkshavn's a day of 1996 by three hours, Samoa's a week of 2011 by a whole day."""
LONGEST_HOURS = {Window.HOUR: 1.5, Window.DAY: 27, Window.WEEK: 7 * 24 + 3, Window.MONTH: 31 * 24 + 3}
CALENDAR = st.sampled_from([Window.HOUR, Window.DAY, Window.WEEK, Window.MONTH])


def hours(found: Span) -> float:
    assert found.end_ms is not None
    return (found.end_ms - found.start_ms) / HOUR_MS


@settings(max_examples=500)
@given(window=CALENDAR, zone=ZONES, now_ms=INSTANTS)
def test_windows_contain_their_moment_and_follow_each_other_without_gap(window: Window, zone: str, now_ms: int) -> None:
    found = window_at(window, zone, now_ms)
    assert found.end_ms is not None
    assert found.start_ms <= now_ms < found.end_ms
    assert SHORTEST_HOURS[window] <= hours(found) <= LONGEST_HOURS[window]
    assert window_at(window, zone, found.start_ms) == window_at(window, zone, found.end_ms - 1) == found
    assert window_at(window, zone, found.end_ms).start_ms == found.end_ms
    assert window_at(window, zone, found.start_ms - 1).end_ms == found.start_ms
    assert window_after(window, found.end_ms, zone, zone, found.end_ms).start_ms == found.end_ms


@given(zone=ZONES, now_ms=INSTANTS)
def test_a_day_begins_where_its_date_does(zone: str, now_ms: int) -> None:
    today = window_at(Window.DAY, zone, now_ms)
    before, begins = (
        datetime.fromtimestamp(s, ZoneInfo(zone)) for s in (today.start_ms // 1000 - 1, today.start_ms // 1000)
    )
    assert before.date() < begins.date()


@settings(max_examples=500)
@given(window=CALENDAR, old=ZONES, new=ZONES, now_ms=INSTANTS, later_ms=st.integers(0, 70 * 24 * HOUR_MS))
def test_a_change_of_zone_never_makes_a_short_window(
    window: Window, old: str, new: str, now_ms: int, later_ms: int
) -> None:
    ended_ms = window_at(window, old, now_ms).end_ms
    assert ended_ms is not None
    first = window_after(window, ended_ms, old, new, ended_ms)
    assert first.start_ms == ended_ms
    assert first.end_ms is not None
    shortest = {Window.HOUR: 1, Window.DAY: 23, Window.WEEK: 6 * 24 - 26, Window.MONTH: 27 * 24 - 2}[window]
    assert shortest <= hours(first) <= LONGEST_HOURS[window] + 26
    # It ends where a window of the new zone begins, and when the ledger looks makes no difference.
    assert window_at(window, new, first.end_ms).start_ms == first.end_ms
    at_once = first if not first.over(ended_ms + later_ms) else window_at(window, new, ended_ms + later_ms)
    assert window_after(window, ended_ms, old, new, ended_ms + later_ms) == at_once


@settings(max_examples=300)
@given(
    window=st.sampled_from([Window.DAY, Window.WEEK, Window.MONTH]),
    zones=st.lists(ZONES, min_size=2, max_size=40),
    now_ms=INSTANTS,
)
def test_changing_the_zone_buys_no_more_windows_than_the_calendar_has(
    window: Window, zones: list[str], now_ms: int
) -> None:
    """However the zone is changed at each turn: as many windows begin as dates, Mondays or firsts go by anywhere."""
    span = window_at(window, zones[0], now_ms)
    begun = 0
    for old, new in itertools.pairwise(zones):
        assert span.end_ms is not None
        span = window_after(window, span.end_ms, old, new, span.end_ms)
        begun += 1
    assert begun <= beginnings(window, now_ms, span.start_ms)


def beginnings(window: Window, from_ms: int, to_ms: int) -> int:
    """How many windows begin somewhere on earth after `from_ms`'s date there, until `to_ms`: the earliest zone's count.

    A date is begun by the first zone 14 hours before UTC's, and over in the last 12 hours after it.
    """
    day = datetime.fromtimestamp(from_ms / 1000 - 12 * 3600, UTC).date()
    last = datetime.fromtimestamp(to_ms / 1000 + 14 * 3600, UTC).date()
    found = 0
    while (day := day + timedelta(days=1)) <= last:
        found += window is Window.DAY or (day.weekday() == 0 if window is Window.WEEK else day.day == 1)
    return found


def test_hopping_east_each_day_buys_no_day() -> None:
    """Round the world in windows of 23 hours each: the date line takes back what was won."""
    east = [f"Etc/GMT{-offset:+d}" if offset else "Etc/UTC" for offset in range(-12, 15)]
    zone, span = east[0], window_at(Window.DAY, east[0], ms("2026-01-01T12:00:00Z"))
    began_ms, begun = span.start_ms, 0
    for hop in range(1, 500):
        assert span.end_ms is not None
        new = east[hop % len(east)]
        span, zone = window_after(Window.DAY, span.end_ms, zone, new, span.end_ms), new
        begun += 1
    assert begun <= (span.start_ms - began_ms) / (24 * HOUR_MS) + 2
