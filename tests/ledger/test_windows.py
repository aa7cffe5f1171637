"""Days and minutes: when they begin and end, across summer time and changes of zone."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambit.ledger.amounts import Window
from ambit.ledger.windows import LIFETIME, Span, is_zone, window_after, window_at

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


def test_a_minute_begins_on_the_minute() -> None:
    start = ms("2026-01-01T12:00:00Z")
    assert window_at(Window.MINUTE, "Europe/Berlin", start + 59_999) == Span(start, start + 60_000)
    assert window_at(Window.MINUTE, "Europe/Berlin", start + 60_000) == Span(start + 60_000, start + 120_000)


def test_a_lifetime_never_ends() -> None:
    assert window_at(Window.LIFETIME, "Etc/UTC", 5) == LIFETIME
    assert not LIFETIME.over(2**60)


@pytest.mark.parametrize(
    ("name", "known"),
    [("Europe/Berlin", True), ("Etc/UTC", True), ("Mars/Base", False), ("Europe", False), ("", False)],
)
def test_only_iana_names_are_zones(name: str, known: bool) -> None:
    assert is_zone(name) is known


def test_a_change_of_zone_begins_when_the_running_day_ends() -> None:
    ended = ms("2026-01-02T00:00:00Z")
    first = window_after(Window.DAY, ended, "Etc/UTC", "Asia/Tokyo", ended)
    assert first.start_ms == ended
    assert first.end_ms == ms("2026-01-04T00:00:00+09:00")


ZONES = st.sampled_from(
    ["Etc/UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Africa/Cairo"]
)
INSTANTS = st.integers(ms("2000-01-01T00:00:00Z"), ms("2030-01-01T00:00:00Z"))


@given(zone=ZONES, now_ms=INSTANTS)
def test_days_contain_their_moment_and_follow_each_other_without_gap(zone: str, now_ms: int) -> None:
    today = window_at(Window.DAY, zone, now_ms)
    assert today.end_ms is not None
    assert today.start_ms <= now_ms < today.end_ms
    tomorrow = window_after(Window.DAY, today.end_ms, zone, zone, today.end_ms)
    assert tomorrow.start_ms == today.end_ms
    begins = datetime.fromtimestamp(today.start_ms / 1000, UTC).astimezone(ZoneInfo(zone))
    assert begins.hour <= 1
    assert begins.second == 0


@given(old=ZONES, new=ZONES, now_ms=INSTANTS, later_ms=st.integers(0, 4 * 24 * HOUR_MS))
def test_a_change_of_zone_never_makes_a_short_day(old: str, new: str, now_ms: int, later_ms: int) -> None:
    ended_ms = window_at(Window.DAY, old, now_ms).end_ms
    assert ended_ms is not None
    first = window_after(Window.DAY, ended_ms, old, new, ended_ms)
    assert first.start_ms == ended_ms
    assert first.end_ms is not None
    assert 22 * HOUR_MS < first.end_ms - ended_ms <= 50 * HOUR_MS
    # When the ledger looks makes no difference: at once, or not before later.
    at_once = first if not first.over(ended_ms + later_ms) else window_at(Window.DAY, new, ended_ms + later_ms)
    assert window_after(Window.DAY, ended_ms, old, new, ended_ms + later_ms) == at_once
