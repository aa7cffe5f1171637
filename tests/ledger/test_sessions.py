"""Sessions: opened once, ended once, by their holder, by a kill, or by themselves."""

import pytest

from ambit.ledger import wire
from ambit.ledger.amounts import Amount, Window
from ambit.ledger.changes import Codec
from ambit.ledger.events import events_of
from ambit.ledger.history import sessions_of, to_csv
from ambit.ledger.records import RecordKind
from ambit.ledger.state_of_sessions import FOLD_AFTER_MS
from ambit.ledger.wire import Invalid, Killed, Opened, Refused, SessionClosed, Sessions, State, UnknownAccount
from ambit.telemetry.reasons import SessionEnd
from tests.ledger.builders import (
    AGENT,
    HOUR_MS,
    NOTHING,
    ORGANISATION,
    OTHER,
    SESSION,
    TEAM,
    Ledger,
    a_ledger,
    a_limit,
    calls,
    tokens,
)

OBSERVED = wire.Confirmation.OBSERVED


def last_events(ledger: Ledger) -> list[wire.AnyEvent]:
    """The events of the last step."""
    found = [events_of(change) for change in Codec.decode(ledger.journal[-1])]
    return [event for event in found if event is not None]


@pytest.mark.parametrize(
    "op",
    [
        wire.Open("session/n/s", "user/team-a/researcher/u", 1000),
        wire.Open("session/n/s", "nonsense", 1000),
        wire.Open("budget/n/s", TEAM, 1000),
        wire.Open("agent/n/s", TEAM, 1000),
        wire.Open("session/n", TEAM, 1000),
        wire.Open("session/n/s", AGENT, 1000, (a_limit(1, Window.DAY),)),
        wire.Open("session/n/s", AGENT, 1000, (a_limit(1), a_limit(2))),
        wire.Open(SESSION, TEAM, 1000),
    ],
)
def test_what_cannot_be_opened(op: wire.Open) -> None:
    assert isinstance(a_ledger().do(op), Invalid)


def test_a_session_needs_a_parent_that_is_there() -> None:
    ledger = a_ledger()
    assert ledger.open(path=OTHER, parent="agent/n/new") == UnknownAccount("agent/n/new")
    assert ledger.open(path=OTHER, parent=TEAM) == Opened(False, {"user": "u"})


def test_opening_again_says_what_is_there() -> None:
    ledger = a_ledger()
    again = wire.Open(SESSION, AGENT, 1000, (a_limit(1),), {"user": "somebody else"})
    assert ledger.do(again) == Opened(True, {"user": "u"})
    assert ledger.usage().limits == ()


def test_a_session_that_has_ended_is_not_opened_again() -> None:
    ledger = a_ledger()
    ledger.close()
    result = ledger.open()
    assert isinstance(result, Refused)
    assert (result.reason, result.ended) == ("SessionEnded", SessionEnd.COMPLETED)


def test_the_first_ending_stays() -> None:
    ledger = a_ledger()
    ledger.kill(SESSION)
    result = ledger.close()
    assert isinstance(result, SessionClosed)
    assert (result.usage.closed_reason, result.usage.closed_message) == (SessionEnd.KILLED, "runs amok (by ada)")
    assert isinstance(ledger.close(TEAM), Invalid)
    assert ledger.close("session/n/none") == UnknownAccount("session/n/none")


def test_a_close_tells_others_and_a_kill_tells_them_to_cut() -> None:
    ledger = a_ledger()
    ledger.close()
    assert last_events(ledger) == [wire.SessionEnded(SESSION, SessionEnd.COMPLETED)]
    ledger = a_ledger()
    ledger.kill(SESSION)
    confirmed = wire.KillConfirmed(SESSION, OBSERVED, 0)
    assert last_events(ledger) == [wire.SessionKilled(SESSION, "Killed"), confirmed]
    ledger = a_ledger()
    ledger.remove(AGENT)
    assert last_events(ledger) == [wire.LimitsChanged(AGENT), wire.SessionKilled(SESSION, "AccountRemoved")]


@pytest.mark.parametrize("path", [AGENT, TEAM, ORGANISATION])
def test_a_kill_ends_every_session_of_the_subtree_and_no_other(path: str) -> None:
    ledger = a_ledger()
    ledger.open(path=OTHER)
    ledger.budget(path="budget/n/elsewhere")
    ledger.open(path="session/n/s-3", parent="budget/n/elsewhere")
    assert ledger.kill(path) == Killed((SESSION, OTHER), OBSERVED)
    assert ledger.usage("session/n/s-3").state is State.OPEN
    for session in (SESSION, OTHER):
        assert isinstance(ledger.reserve(calls(1), path=session), Refused)
    assert ledger.kill(path) == Killed((), OBSERVED)
    assert ledger.kill("budget/n/none") == UnknownAccount("budget/n/none")


def test_a_repeated_kill_names_what_is_not_yet_gone() -> None:
    ledger = a_ledger()
    ledger.reserve(calls(1), hold="h")
    ledger.kill(TEAM)
    assert ledger.kill(TEAM) == Killed((SESSION,))
    ledger.settle(calls(1))
    assert ledger.kill(TEAM) == Killed((), OBSERVED)


def test_a_killed_session_gets_nothing_more_and_its_open_hold_is_still_settled() -> None:
    ledger = a_ledger()
    ledger.reserve(tokens(5), hold="h")
    ledger.kill(SESSION)
    assert isinstance(ledger.extend(1, tokens(1)), Refused)
    assert isinstance(ledger.extend(1), Refused), "not even time"
    ledger.settle(tokens(2))
    assert ledger.usage(TEAM).spent == tokens(2)


def test_a_session_that_nobody_holds_anything_for_ends_by_itself() -> None:
    ledger = a_ledger()
    ledger.open(path=OTHER, grace_ms=60_000)
    ledger.pass_time(59_999)
    assert ledger.usage(OTHER).state is State.OPEN
    ledger.pass_time(1)
    assert ledger.usage(OTHER).closed_reason is SessionEnd.ABANDONED
    assert last_events(ledger) == [wire.SessionEnded(OTHER, SessionEnd.ABANDONED)]
    assert ledger.usage(SESSION).state is State.OPEN


def test_an_open_hold_keeps_a_session_and_its_end_begins_the_grace() -> None:
    ledger = a_ledger()
    ledger.open(path=OTHER, grace_ms=60_000)
    ledger.reserve(calls(1), hold="h", path=OTHER, expires_in_ms=HOUR_MS)
    ledger.reserve(calls(1), hold="g", path=OTHER, expires_in_ms=HOUR_MS)
    ledger.pass_time(HOUR_MS - 1)
    ledger.settle(calls(1))
    ledger.settle(calls(1), "g")
    ledger.pass_time(59_999)
    assert ledger.usage(OTHER).state is State.OPEN
    ledger.pass_time(1000)  # at most a second late
    assert ledger.usage(OTHER).closed_reason is SessionEnd.ABANDONED


def test_the_session_of_a_dead_holder_ends_once_its_hold_has_expired() -> None:
    ledger = a_ledger()
    ledger.open(path=OTHER, grace_ms=60_000)
    ledger.reserve(Amount(runtime_ms=30_000), path=OTHER, expires_in_ms=30_000)
    ledger.pass_time(30_000)
    assert ledger.usage(OTHER).state is State.OPEN
    ledger.pass_time(60_000)
    usage = ledger.usage(OTHER)
    assert (usage.closed_reason, usage.spent) == (SessionEnd.ABANDONED, Amount(runtime_ms=30_000))


def test_sessions_are_listed_by_account_by_namespace_and_by_state() -> None:
    ledger = a_ledger()
    ledger.pass_time(1)
    ledger.open(path=OTHER)
    ledger.budget(path="budget/n/elsewhere")
    ledger.open(path="session/n/s-3", parent="budget/n/elsewhere")
    ledger.kill(SESSION)

    def listed(under: str, state: State | None = None) -> list[str]:
        result = ledger.do(wire.ListSessions(under, state))
        assert isinstance(result, Sessions)
        return [usage.path for usage in result.sessions]

    assert listed(ORGANISATION) == listed(AGENT) == listed("team-a") == [SESSION, OTHER]
    assert listed("n") == ["session/n/s-3"]
    assert listed("team-a", State.OPEN) == [OTHER]
    assert listed("team-a", State.ENDED) == listed(SESSION) == [SESSION]
    assert listed("empty") == []
    assert ledger.do(wire.ListSessions("agent/n/none")) == UnknownAccount("agent/n/none")


def test_usage_tells_all_about_a_session() -> None:
    ledger = a_ledger()
    ledger.open(a_limit(9), path=OTHER)
    ledger.reserve(calls(2), hold="h", path=OTHER, expires_in_ms=5000)
    ledger.pass_time(1000)
    usage = ledger.usage(OTHER)
    assert usage == wire.Usage(
        path=OTHER,
        state=State.OPEN,
        parent=AGENT,
        attributes={"user": "u"},
        limits=(wire.LimitUsage(a_limit(9).window, a_limit(9).resource, 9, 0, 2),),
        held=calls(2),
        holds=(wire.HoldView("h", "gateway", calls(2), 4000),),
        age_ms=1000,
    )


def test_an_ended_session_folds_into_its_agent_and_its_usage_is_recorded() -> None:
    ledger = a_ledger()
    ledger.reserve(tokens(3), hold="h")
    ledger.settle(tokens(3))
    ledger.close()
    ledger.pass_time(FOLD_AFTER_MS - 1)
    assert ledger.usage(SESSION).closed_age_ms == FOLD_AFTER_MS - 1
    ledger.pass_time(1)
    assert ledger.do(wire.GetUsage(SESSION)) == UnknownAccount(SESSION)
    assert ledger.usage(AGENT).spent == tokens(3)
    (record,) = (each for each in ledger.records if each.kind is RecordKind.SESSION)
    assert (record.kind, record.path, record.at_ms) == (RecordKind.SESSION, SESSION, ledger.now_ms)
    (usage,) = sessions_of([record])
    assert (usage.above, usage.agent, usage.spent) == ((AGENT, TEAM, ORGANISATION), AGENT, tokens(3).vector())
    assert (usage.reason, usage.ended_ms) == (SessionEnd.COMPLETED, ledger.now_ms - FOLD_AFTER_MS)
    assert ledger.kill(AGENT) == Killed((), wire.Confirmation.OBSERVED)


def test_a_session_does_not_fold_while_something_is_held_for_it() -> None:
    ledger = a_ledger()
    ledger.reserve(tokens(3), hold="h", expires_in_ms=HOUR_MS)
    ledger.close()
    ledger.pass_time(HOUR_MS - 1)
    assert ledger.usage(SESSION).state is State.ENDED
    ledger.settle(tokens(1))
    ledger.pass_time(FOLD_AFTER_MS)
    ledger.pass_time(FOLD_AFTER_MS)
    assert ledger.do(wire.GetUsage(SESSION)) == UnknownAccount(SESSION)
    assert ledger.usage(TEAM).spent == tokens(1)


def test_an_expired_hold_is_corrected_after_its_session_has_folded() -> None:
    ledger = a_ledger()
    ledger.reserve(tokens(9), hold="gateway-1#1", expires_in_ms=1000)
    ledger.pass_time(1000)
    ledger.close()
    ledger.pass_time(2 * FOLD_AFTER_MS)
    ledger.restart(ledger.through_snapshot())
    assert ledger.settle(tokens(4), "gateway-1#1") == wire.Settled()
    assert (ledger.usage(AGENT).spent, ledger.usage(ORGANISATION).spent) == (tokens(4), tokens(4))


@pytest.mark.parametrize("restarted", [False, True])
def test_such_a_correction_is_in_the_usage_of_the_sessions_above_as_well(restarted: bool) -> None:
    ledger = a_ledger()
    assert isinstance(ledger.do(wire.Open("session/team-a/sub", SESSION, HOUR_MS)), wire.Opened)
    ledger.reserve(tokens(9), hold="gateway-1#1", path="session/team-a/sub", expires_in_ms=1000)
    ledger.pass_time(1000)
    ledger.close()
    for _ in range(4):
        ledger.pass_time(FOLD_AFTER_MS)
    if restarted:
        ledger.restart(ledger.through_snapshot())
    ledger.settle(tokens(4), "gateway-1#1")
    assert {usage.path: Amount.of(usage.spent) for usage in sessions_of(ledger.records)} == {
        SESSION: tokens(4),
        "session/team-a/sub": tokens(4),
    }


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("used", [tokens(4), NOTHING])
def test_a_correction_after_its_session_has_folded_is_in_the_sessions_usage(restarted: bool, used: Amount) -> None:
    ledger = a_ledger()
    ledger.reserve(tokens(9), hold="gateway-1#1", expires_in_ms=1000)
    ledger.pass_time(1000)
    ledger.close()
    ledger.pass_time(2 * FOLD_AFTER_MS)
    if restarted:
        ledger.restart(ledger.through_snapshot())
    if used == NOTHING:
        ledger.release("gateway-1#1")
    else:
        ledger.settle(used, "gateway-1#1")
    (usage,) = sessions_of(ledger.records)
    assert (usage.path, usage.agent, usage.reason) == (SESSION, AGENT, SessionEnd.COMPLETED)
    assert Amount.of(usage.spent) == used
    line = next(row for row in to_csv(sessions_of(ledger.records), ["agent"]) if row.startswith("team-a/researcher"))
    assert f",{used.tokens}," in line
    (correction,) = (each for each in ledger.records if each.kind is RecordKind.AUDIT and b"Correction" in each.body)
    assert correction.path == SESSION
