"""What is kept of windows and sessions that are over, and how it adds up."""

import csv
import io

import msgspec
import pytest

from ambit.ledger.amounts import Amount, Vector, Window
from ambit.ledger.ended_windows import EndedWindows
from ambit.ledger.history import (
    SessionUsage,
    UnknownGrouping,
    session_record,
    sessions_of,
    to_csv,
    window_record,
    windows_of,
)
from ambit.ledger.records import Record
from ambit.ledger.running import Ended
from ambit.ledger.windows import Span
from ambit.ledger.wire import WindowSpent
from ambit.telemetry.reasons import SessionEnd
from tests.ledger.builders import AGENT, DAY_MS, HOUR_MS, NOON_MS, ORGANISATION, TEAM, calls, tokens

TODAY, TOMORROW = Span(NOON_MS, NOON_MS + DAY_MS), Span(NOON_MS + DAY_MS, NOON_MS + 2 * DAY_MS)


def a_window(amount: Amount, span: Span = TODAY, window: Window = Window.DAY) -> Record:
    return a_record(window, span, amount.vector())


def a_record(window: Window, span: Span, spent: Vector) -> Record:
    assert span.end_ms is not None
    return window_record(TEAM, Ended(window, span.start_ms, span.end_ms, spent), NOON_MS)


def a_session(name: str, amount: Amount, *, user: str = "ada", label: str = "", budget: str = TEAM) -> SessionUsage:
    above = (AGENT, budget, ORGANISATION)
    labels = {"project": label} if label else {}
    path = f"session/team-a/{name}"
    return SessionUsage(path, above, AGENT, user, labels, NOON_MS, NOON_MS + 5, SessionEnd.COMPLETED, amount.vector())


def table(sessions: list[SessionUsage], *by: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO("".join(to_csv(sessions, by)))))


def test_what_is_settled_late_is_added_to_the_window_that_granted_it() -> None:
    records = [a_window(calls(3)), a_window(tokens(7), TOMORROW), a_window(calls(2))]
    today = WindowSpent(Window.DAY, NOON_MS, NOON_MS + DAY_MS, calls(5))
    tomorrow = WindowSpent(Window.DAY, NOON_MS + DAY_MS, NOON_MS + 2 * DAY_MS, tokens(7))
    assert windows_of(records) == (today, tomorrow)


def test_a_correction_takes_back_what_was_charged_too_much() -> None:
    correction = a_record(Window.DAY, TODAY, {1: -4})
    (found,) = windows_of([a_window(tokens(10)), correction])
    assert found.spent == tokens(6)


def test_windows_are_told_apart_and_asked_for_by_kind() -> None:
    hour = Span(NOON_MS, NOON_MS + HOUR_MS)
    records = [a_window(calls(3)), a_window(calls(1), hour, Window.HOUR)]
    assert [each.window for each in windows_of(records)] == [Window.HOUR, Window.DAY]
    assert [each.spent for each in windows_of(records, Window.HOUR)] == [calls(1)]


def test_what_was_taken_off_twice_leaves_nothing_and_can_be_said() -> None:
    """By somebody's adjustment, and once the true usage of a lost hold was known."""
    correction = a_record(Window.DAY, TODAY, {1: -14})
    (found,) = windows_of([a_window(tokens(10)), correction])
    assert found.spent == Amount()
    assert msgspec.json.decode(msgspec.json.encode(found), type=WindowSpent) == found


@pytest.mark.parametrize(("window", "spent"), [(Window.MINUTE, {1: 5}), (Window.DAY, {})])
def test_rates_and_windows_without_usage_are_not_kept(window: Window, spent: Vector) -> None:
    noted = EndedWindows()
    noted.note(TEAM, Ended(window, NOON_MS, NOON_MS + DAY_MS, spent))
    assert not noted


def test_what_cancels_itself_out_is_not_recorded() -> None:
    noted = EndedWindows()
    for amount in (5, -5):
        noted.note(TEAM, Ended(Window.DAY, NOON_MS, NOON_MS + DAY_MS, {1: amount}))
    assert not noted
    assert not list(noted.of(TEAM))


def test_a_sessions_usage_is_its_records_together() -> None:
    first, second = a_session("s-1", tokens(10)), a_session("s-2", tokens(1))
    correction = msgspec.structs.replace(first, spent={1: -4})
    found = sessions_of(session_record(each, NOON_MS) for each in (first, second, correction))
    assert [(each.path, each.spent) for each in found] == [
        ("session/team-a/s-1", {1: 6}),
        ("session/team-a/s-2", {1: 1}),
    ]


def test_usage_as_csv_by_team() -> None:
    money = Amount(usd_nanos=1_250_000_000, runtime_ms=1500, payments_nanos=10_000_000)
    rows = table(
        [a_session("s-1", money), a_session("s-2", money), a_session("s-3", calls(1), budget="budget/team-a/other")],
        "team",
    )
    assert [(row["namespace"], row["budget"], row["sessions"]) for row in rows] == [
        ("team-a", "team-a/other", "1"),
        ("team-a", "team-a/research", "2"),
    ]
    assert (rows[1]["usd"], rows[1]["runtime_seconds"], rows[1]["payments_usd"]) == ("2.5", "3", "0.02")
    assert (rows[0]["usd"], rows[0]["modelCalls"]) == ("0", "1")


def test_usage_as_csv_by_agent_user_and_label() -> None:
    sessions = [
        a_session("s-1", tokens(1), user="ada", label="x"),
        a_session("s-2", tokens(2), user="bob", label="x"),
        a_session("s-3", tokens(4), user="bob"),
    ]
    by_user = {row["user"]: row["tokens"] for row in table(sessions, "user")}
    assert by_user == {"ada": "1", "bob": "6"}
    by_label = {row["label:project"]: row["tokens"] for row in table(sessions, "label:project")}
    assert by_label == {"x": "3", "": "4"}
    both = {(row["agent"], row["user"]): row["sessions"] for row in table(sessions, "agent", "user")}
    assert both == {("team-a/researcher", "ada"): "1", ("team-a/researcher", "bob"): "2"}


def test_a_name_is_no_formula_and_breaks_no_line() -> None:
    rows = table(
        [a_session("s-1", calls(1), user='=HYPERLINK("x")'), a_session("s-2", calls(1), user='a,"b\nc')], "user"
    )
    assert [row["user"] for row in rows] == ['\'=HYPERLINK("x")', 'a,"b\nc']


@pytest.mark.parametrize("wrong", ["", "namespace", "label", "label:"])
def test_nothing_else_can_be_added_up_by(wrong: str) -> None:
    with pytest.raises(UnknownGrouping, match="team, agent, user or label"):
        table([], wrong)
