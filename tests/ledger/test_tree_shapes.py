"""The tree between an Agent and its calls: users, sub-sessions, and how many sessions there may be at a time."""

import pytest

from ambit.ledger import wire
from ambit.ledger.amounts import Amount, Limit, Resource, Window
from ambit.ledger.paths import user_path
from ambit.ledger.wire import Granted, Invalid, Opened, RefusalReason, Refused, UnknownAccount, Wait
from ambit.telemetry.reasons import SessionEnd
from tests.ledger.builders import (
    AGENT,
    HOUR_MS,
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

SUB, HELPER = "session/team-b/s-sub", "agent/team-b/helper"
DAILY = (Limit(Window.DAY, Resource.MODEL_CALLS, 3),)


def open_as(ledger: Ledger, user: str, path: str, parent: str = AGENT) -> wire.AnyResult:
    return ledger.do(wire.Open(path, parent, HOUR_MS, user=user))


def with_users(ledger: Ledger, limits: tuple[Limit, ...] | None = DAILY) -> Ledger:
    ledger.do(wire.PutAccount(AGENT, (), TEAM, user_limits=limits), "operator")
    return ledger


# -- users


def test_each_user_of_an_agent_has_an_account_over_all_its_sessions() -> None:
    ledger = with_users(a_ledger())
    assert open_as(ledger, "ada@example.com", "session/team-a/ada-1") == Opened(False, {})
    open_as(ledger, "ada@example.com", "session/team-a/ada-2")
    open_as(ledger, "bob", "session/team-a/bob-1")
    ada = "user/team-a/researcher/ada%40example.com"
    assert ledger.usage("session/team-a/ada-1").parent == ada
    ledger.reserve(calls(2), path="session/team-a/ada-1")
    denied = ledger.reserve(calls(2), path="session/team-a/ada-2")
    assert isinstance(denied, Wait)
    assert (denied.account, denied.limit, denied.held) == (ada, 3, 2)
    assert ledger.reserve(calls(3), path="session/team-a/bob-1") == Granted(calls(3))
    assert ledger.usage(AGENT).held == calls(5)
    assert open_as(ledger, "ada@example.com", "session/team-a/ada-1") == Opened(True, {})


def test_a_user_has_no_new_refill_by_sessions_edits_or_a_new_agent_of_the_same_name() -> None:
    ledger = with_users(a_ledger())
    open_as(ledger, "ada", "session/team-a/ada-1")
    ledger.reserve(calls(3), hold="h", path="session/team-a/ada-1")
    ledger.settle(calls(3))
    with_users(ledger, None)
    open_as(ledger, "ada", "session/team-a/ada-2")
    ledger.reserve(calls(1), hold="g", path="session/team-a/ada-2")
    ledger.settle(calls(1), "g")
    ledger.remove(AGENT)
    with_users(ledger)
    open_as(ledger, "ada", "session/team-a/ada-3")
    assert ledger.limit_usage("user/team-a/researcher/ada") == (4, 0)
    assert isinstance(ledger.reserve(calls(1), path="session/team-a/ada-3"), Refused)


def test_limits_by_user_change_with_their_agent() -> None:
    ledger = with_users(a_ledger())
    open_as(ledger, "ada", OTHER)
    with_users(ledger, (Limit(Window.DAY, Resource.MODEL_CALLS, 5),))
    assert ledger.reserve(calls(5), path=OTHER) == Granted(calls(5))


def test_where_users_are_limited_a_session_is_somebodys() -> None:
    ledger = with_users(a_ledger())
    assert isinstance(open_as(ledger, "", OTHER), Invalid)
    assert isinstance(ledger.do(wire.PutAccount(TEAM, (), ORGANISATION, user_limits=DAILY), "operator"), Invalid)
    assert isinstance(ledger.do(wire.PutAccount("user/team-a/researcher/ada", (), AGENT), "operator"), Invalid)
    assert isinstance(open_as(ledger, "ada", OTHER, "user/team-a/researcher/ada"), Invalid)


@pytest.mark.parametrize(
    ("user", "name"),
    [("ada", "ada"), ("system:serviceaccount:a:b", "system%3Aserviceaccount%3Aa%3Ab"), ("../x", "..%2Fx")],
)
def test_users_names_become_paths_that_are_theirs_alone(user: str, name: str) -> None:
    assert user_path("agent/n/a", user) == f"user/n/a/{name}"
    assert len(user_path("agent/n/a", "é" * 253)) < 300
    assert user_path("agent/n/a", "é" * 253) != user_path("agent/n/a", "é" * 252)


def test_a_session_shows_its_user_and_labels() -> None:
    ledger = a_ledger()
    ledger.do(wire.Open(OTHER, AGENT, HOUR_MS, user="ada", labels={"project": "x"}))
    assert (ledger.usage(OTHER).user, ledger.usage(OTHER).labels) == ("ada", {"project": "x"})


# -- sub-sessions


def with_a_helper(ledger: Ledger, *limits: Limit) -> Ledger:
    ledger.budget(path="budget/team-b/own")
    ledger.do(wire.PutAccount(HELPER, limits, "budget/team-b/own"), "operator")
    return ledger


def open_sub(ledger: Ledger, *limits: Limit, agent: str | None = HELPER, parent: str = SESSION) -> wire.AnyResult:
    return ledger.do(wire.Open(SUB, parent, HOUR_MS, limits, agent=agent))


def test_a_sub_session_is_charged_on_its_parents_path_alone() -> None:
    ledger = with_a_helper(a_ledger())
    ledger.open(a_limit(5), path=OTHER)
    assert open_sub(ledger, parent=OTHER) == Opened(False, {})
    assert isinstance(ledger.reserve(calls(6), path=SUB), Refused)
    ledger.reserve(calls(4), hold="h", path=SUB)
    ledger.settle(calls(3))
    for path in (SUB, OTHER, AGENT, TEAM, ORGANISATION):
        assert ledger.usage(path).spent == calls(3)
    assert ledger.usage(HELPER).spent == Amount()
    assert isinstance(ledger.reserve(calls(3), path=OTHER), Refused), "its parent's bound is one for both"


def test_the_agent_of_a_sub_session_adds_its_own_bounds() -> None:
    ledger = with_a_helper(a_ledger(), a_limit(2), a_limit(9, Window.DAY))
    open_sub(ledger, a_limit(4), a_limit(100, resource=Resource.TOKENS))
    refused = ledger.reserve(calls(3), path=SUB)
    assert isinstance(refused, Refused)
    assert (refused.account, refused.limit) == (SUB, 2)
    assert isinstance(ledger.reserve(tokens(101), path=SUB), Refused)


def test_what_is_under_a_session_ends_with_it_and_keeps_it_from_being_abandoned() -> None:
    ledger = with_a_helper(a_ledger())
    ledger.open(path=OTHER, grace_ms=60_000)
    open_sub(ledger, parent=OTHER)
    ledger.pass_time(HOUR_MS - 1000)
    assert ledger.usage(OTHER).state is wire.State.OPEN
    ledger.close(OTHER)
    assert ledger.usage(SUB).closed_reason is SessionEnd.COMPLETED
    assert isinstance(open_sub(ledger, parent=OTHER), Refused)
    assert isinstance(ledger.reserve(calls(1), path=SUB), Refused)


@pytest.mark.parametrize("end", ["kill", "remove"])
def test_an_agents_kill_and_removal_reach_its_sub_sessions_elsewhere(end: str) -> None:
    ledger = with_a_helper(a_ledger())
    open_sub(ledger)
    ledger.kill(HELPER) if end == "kill" else ledger.remove(HELPER)
    assert ledger.usage(SUB).state is wire.State.ENDED
    assert ledger.usage(SESSION).state is wire.State.OPEN


def test_what_no_sub_session_can_be() -> None:
    ledger = with_a_helper(a_ledger())
    assert open_sub(ledger, agent="agent/team-b/none") == UnknownAccount("agent/team-b/none")
    assert isinstance(open_sub(ledger, agent=TEAM), Invalid)
    assert isinstance(open_sub(ledger, parent=AGENT), Invalid)
    assert open_sub(ledger, parent="session/team-a/none") == UnknownAccount("session/team-a/none")
    ledger.remove(HELPER)
    assert isinstance(open_sub(ledger), Refused)


# -- how many at a time


def crowd(ledger: Ledger, path: str, parent: str, at_a_time: int) -> None:
    ledger.do(wire.PutAccount(path, (), parent, concurrent_sessions=at_a_time), "operator")


@pytest.mark.parametrize(("path", "parent"), [(AGENT, TEAM), (TEAM, ORGANISATION)])
def test_only_so_many_sessions_at_a_time(path: str, parent: str) -> None:
    ledger = a_ledger()
    crowd(ledger, path, parent, 2)
    assert ledger.open(path=OTHER) == Opened(False, {"user": "u"})
    denied = ledger.open(path="session/team-a/s-3")
    assert isinstance(denied, Wait)
    assert (denied.reason, denied.account, denied.limit, denied.held) == (RefusalReason.CONCURRENCY_LIMIT, path, 2, 2)
    assert ledger.open(path=OTHER) == Opened(True, {"user": "u"}), "one that is open stays so"
    ledger.close(OTHER)
    assert isinstance(ledger.open(path="session/team-a/s-3"), Opened)
    assert ledger.usage(path).sessions == 2


def test_a_session_counts_while_it_still_holds_something() -> None:
    ledger = a_ledger()
    crowd(ledger, AGENT, TEAM, 1)
    ledger.reserve(Amount(runtime_ms=30_000), hold="h", expires_in_ms=30_000)
    ledger.kill(SESSION)
    assert isinstance(ledger.open(path=OTHER), Wait), "its environment may still run"
    ledger.pass_time(30_000)
    assert isinstance(ledger.open(path=OTHER), Opened)


def test_sub_sessions_count_at_their_agent_and_at_their_parents() -> None:
    ledger = with_a_helper(a_ledger())
    crowd(ledger, HELPER, "budget/team-b/own", 1)
    open_sub(ledger)
    assert (ledger.usage(HELPER).sessions, ledger.usage(AGENT).sessions) == (1, 2)
    assert isinstance(ledger.do(wire.Open("session/team-b/s-9", HELPER, HOUR_MS)), Wait)
    ledger.close(SUB)
    assert (ledger.usage(HELPER).sessions, ledger.usage(AGENT).sessions) == (0, 1)


def test_the_gauge_moves_with_an_agent_that_comes_back_elsewhere() -> None:
    ledger = a_ledger()
    ledger.reserve(calls(1), hold="h")
    ledger.remove(AGENT)
    ledger.budget(path="budget/team-a/other")
    ledger.agent(parent="budget/team-a/other")
    assert (ledger.usage(TEAM).sessions, ledger.usage("budget/team-a/other").sessions) == (0, 1)
    ledger.settle(calls(1))
    assert ledger.usage("budget/team-a/other").sessions == 0


def test_an_agent_that_moves_leaves_its_sub_sessions_to_the_gauges_where_they_are() -> None:
    left, right, helper, sub = "budget/team-a/left", "budget/team-a/right", "agent/team-a/helper", "session/team-a/sub"
    ledger = a_ledger()
    for path in (left, right):
        ledger.do(wire.PutAccount(path, concurrent_sessions=1), "operator")
    ledger.agent(path=helper, parent=left)
    ledger.do(wire.Open(sub, SESSION, HOUR_MS, agent=helper))
    ledger.reserve(calls(1), hold="h", path=sub)
    ledger.remove(helper)
    ledger.agent(path=helper, parent=right)
    assert [ledger.usage(path).sessions for path in (left, right, helper)] == [0, 0, 1]
    assert ledger.image(ledger.replayed()) == ledger.image()
    assert ledger.image(ledger.through_snapshot()) == ledger.image()
    ledger.settle(calls(1))
    assert [ledger.usage(path).sessions for path in (left, right, helper)] == [0, 0, 0]
    assert isinstance(ledger.open(path="session/team-a/s-9", parent=helper), Opened)
    assert isinstance(ledger.open(path="session/team-a/s-10", parent=helper), Wait)


def test_the_shape_of_the_tree_survives_a_snapshot() -> None:
    ledger = with_users(with_a_helper(a_ledger()))
    crowd(ledger, TEAM, ORGANISATION, 9)
    open_as(ledger, "ada", OTHER)
    open_sub(ledger, parent=OTHER)
    ledger.reserve(calls(1), hold="h", path=SUB)
    ledger.kill(HELPER)
    image = ledger.image()
    ledger.restart(ledger.through_snapshot())
    assert ledger.image() == image
    assert (ledger.usage(HELPER).sessions, ledger.usage(TEAM).sessions) == (1, 3)
    ledger.settle(calls(1))
    assert ledger.kill(HELPER) == wire.Killed((), wire.Confirmation.OBSERVED)
    assert ledger.usage(HELPER).sessions == 0
