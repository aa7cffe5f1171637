"""A log that is taken up again passes on each line once, whatever the apiserver repeats."""

from hypothesis import given
from hypothesis import strategies as st

from ambit.kube.logs import Cursor


def passed_on(cursor: Cursor, stream: list[bytes]) -> list[bytes]:
    cursor.resume()
    return [output for line in stream if (output := cursor.accept(line)) is not None]


def test_lines_of_one_instant_are_passed_on_once() -> None:
    cursor = Cursor()
    first = [b"2026-11-21T09:00:00.1Z a\n", b"2026-11-21T09:00:00.1Z b\n"]
    assert passed_on(cursor, first) == [b"a\n", b"b\n"]
    again = [*first, b"2026-11-21T09:00:00.1Z b\n", b"2026-11-21T09:00:00.12Z c d\n"]
    assert passed_on(cursor, again) == [b"b\n", b"c d\n"]
    assert cursor.since == "2026-11-21T09:00:00Z"


def test_fractions_without_trailing_zeros_are_compared_as_numbers() -> None:
    cursor = Cursor()
    assert passed_on(cursor, [b"2026-11-21T09:00:00Z a\n", b"2026-11-21T09:00:00.05Z b\n"]) == [b"a\n", b"b\n"]
    assert passed_on(cursor, [b"2026-11-21T09:00:00.1Z c\n"]) == [b"c\n"]


@given(
    gaps=st.lists(st.integers(0, 2), min_size=1, max_size=30),
    cuts=st.lists(st.integers(0, 30), max_size=5),
)
def test_any_cuts_give_every_line_once_and_in_order(gaps: list[int], cuts: list[int]) -> None:
    tenths = 0
    log: list[bytes] = []
    for number, gap in enumerate(gaps):
        tenths += gap
        stamp = f"2026-11-21T09:00:{tenths // 10:02}.{tenths % 10}".rstrip("0").rstrip(".")
        log.append(f"{stamp}Z line {number}\n".encode())
    cursor = Cursor()
    passed: list[bytes] = []
    for cut in [*cuts, len(log)]:
        since = cursor.since
        # sinceTime has whole seconds: the apiserver repeats everything from the beginning of that second.
        resumed = [line for line in log[:cut] if since is None or line[:19] >= since[:19].encode()]
        passed += passed_on(cursor, resumed)
    assert passed == [line.partition(b" ")[2] for line in log]
