"""Amounts: Kubernetes' grammar and rounding, integers inside, exact on the way back."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambit.api.quantities import (
    InvalidAmount,
    format_count,
    format_duration_ms,
    format_usd_nanos,
    parse_count,
    parse_duration_ms,
    parse_price_picos_per_token,
    parse_usd_nanos,
)

AMOUNTS = st.integers(0, 10**18)


@pytest.mark.parametrize(
    ("written", "nanos"),
    [
        ("0", 0),
        ("2500", 2_500_000_000_000),
        ("0.05", 50_000_000),
        ("500m", 500_000_000),
        ("2k", 2_000_000_000_000),
        ("1e3", 1_000_000_000_000),
        ("1E-3", 1_000_000),
        ("1E", 10**27),
        (".5", 500_000_000),
        ("5.", 5_000_000_000),
        ("1n", 1),
        ("0.0000000001", 1),
        ("1.0000000001", 1_000_000_001),
    ],
)
def test_money_is_nano_dollars_rounded_up(written: str, nanos: int) -> None:
    assert parse_usd_nanos(written) == nanos


@pytest.mark.parametrize(
    "written", ["", "-1", "five", "1,5", "$5", "1 000", "NaN", "1e", "0x10", "1KB", "٣", "--1", "."]
)
def test_what_is_no_money_is_refused(written: str) -> None:
    with pytest.raises(InvalidAmount, match="write US dollars of zero or more"):
        parse_usd_nanos(written)


@pytest.mark.parametrize(
    ("written", "count"),
    [("0", 0), ("100", 100), ("500M", 500_000_000), ("1.5k", 1500), ("2G", 2 * 10**9), ("1Ki", 1024), ("1000m", 1)],
)
def test_counts_are_whole(written: str, count: int) -> None:
    assert parse_count(written) == count


@pytest.mark.parametrize("written", ["0.5", "1500m", "-1", "many", ""])
def test_what_is_no_whole_count_is_refused(written: str) -> None:
    with pytest.raises(InvalidAmount):
        parse_count(written)


@pytest.mark.parametrize(
    ("written", "ms"),
    [("30m", 1_800_000), ("1h30m", 5_400_000), ("2h", 7_200_000), ("45s", 45_000), ("1500ms", 1500), ("1m1ms", 60_001)],
)
def test_durations_are_milliseconds(written: str, ms: int) -> None:
    assert parse_duration_ms(written) == ms


@pytest.mark.parametrize("written", ["", "30", "1.5h", "1d", "-5m", "30 m", "1h1h1h1h1h", "100000h"])
def test_what_is_no_duration_is_refused(written: str) -> None:
    with pytest.raises(InvalidAmount):
        parse_duration_ms(written)


@pytest.mark.parametrize(
    ("written", "picos"), [("3", 3_000_000), ("0.30", 300_000), ("0.000001", 1), ("0", 0), ("999999", 999_999_000_000)]
)
def test_prices_are_pico_dollars_per_token(written: str, picos: int) -> None:
    assert parse_price_picos_per_token(written) == picos


@pytest.mark.parametrize("written", ["-1", "0.0000001", "1k", "", "1.", ".5", "1e3"])
def test_what_is_no_price_is_refused_rather_than_rounded(written: str) -> None:
    with pytest.raises(InvalidAmount):
        parse_price_picos_per_token(written)


@given(AMOUNTS)
def test_money_comes_back_exactly(nanos: int) -> None:
    assert parse_usd_nanos(format_usd_nanos(nanos)) == nanos


@given(AMOUNTS)
def test_counts_come_back_exactly(count: int) -> None:
    assert parse_count(format_count(count)) == count


@given(st.integers(0, 99_999 * 3_600_000))
def test_durations_come_back_exactly(ms: int) -> None:
    assert parse_duration_ms(format_duration_ms(ms)) == ms


@given(st.decimals(0, 10**9, allow_nan=False, places=12))
def test_money_is_never_rounded_down(amount: Decimal) -> None:
    exact = amount * 10**9
    assert exact <= parse_usd_nanos(f"{amount:f}") < exact + 1


def test_money_is_written_as_people_write_it() -> None:
    assert [format_usd_nanos(nanos) for nanos in (0, 10**9, 131_200_000_000, 1000, -(10**9))] == [
        "0",
        "1",
        "131.20",
        "0.000001",
        "-1",
    ]
    assert [format_count(count) for count in (0, 1500, 2_000_000, 2000)] == ["0", "1500", "2M", "2k"]
    assert [format_duration_ms(ms) for ms in (0, 5_400_000, 1500, -1000)] == ["0s", "1h30m", "1s500ms", "-1s"]
