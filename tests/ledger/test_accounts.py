"""Accounts of Budgets and Agents: made, changed, removed, taken up again."""

import pytest

from ambit.ledger import wire
from ambit.ledger.account_operations import MAX_DEPTH
from ambit.ledger.amounts import RESOURCES, Amount, Limit, Resource, Window
from ambit.ledger.wire import AccountPut, AccountRemoved, Granted, Invalid, Refused, State, UnknownAccount
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


@pytest.mark.parametrize(
    ("put", "answer"),
    [
        (wire.PutAccount("budget/n/b"), AccountPut()),
        (wire.PutAccount("budget/n/b", parent=TEAM), AccountPut()),
        (wire.PutAccount("agent/n/a", parent=TEAM, time_zone="Europe/Berlin"), AccountPut()),
        (wire.PutAccount("budget/n/b", parent="budget/n/missing"), UnknownAccount("budget/n/missing")),
        (wire.PutAccount("agent/n/a"), Invalid("agent/n/a has no parent: only a Budget can do without")),
        (wire.PutAccount("agent/n/a", parent=AGENT), None),
        (wire.PutAccount("budget/n/b", parent=AGENT), None),
        (wire.PutAccount("session/n/s", parent=AGENT), None),
        (wire.PutAccount("pod/n/p", parent=TEAM), None),
        (wire.PutAccount("budget/n"), None),
        (wire.PutAccount("budget/n/../b"), None),
        (wire.PutAccount("budget/N/b"), None),
        (wire.PutAccount("budget/n/b", time_zone="Mars/Base"), None),
        (wire.PutAccount("budget/n/b", limits=(a_limit(1), a_limit(2))), None),
        (wire.PutAccount(TEAM, parent=None), None),
        (wire.PutAccount(ORGANISATION, parent=TEAM), None),
    ],
)
def test_which_accounts_can_be_put(put: wire.PutAccount, answer: wire.AnyResult | None) -> None:
    ledger = a_ledger()
    result = ledger.do(put, "operator")
    assert result == answer if answer is not None else isinstance(result, Invalid)
    assert put.path in ledger.tree.state.accounts if result == AccountPut() else True


def test_only_the_operator_puts_and_removes_accounts() -> None:
    ledger = a_ledger()
    for op in (wire.PutAccount(TEAM, (a_limit(9),), ORGANISATION), wire.RemoveAccount(TEAM)):
        for component in ("gateway", "other", ""):
            assert isinstance(ledger.do(op, component), wire.Forbidden)
    assert ledger.usage(TEAM).limits == ()
    assert ledger.usage(TEAM).state is State.OPEN


def test_putting_the_same_again_changes_nothing() -> None:
    ledger = a_ledger(a_limit(5))
    journalled = len(ledger.journal)
    ledger.budget(a_limit(5), parent=ORGANISATION)
    assert len(ledger.journal) == journalled


def test_a_cycle_of_parents_is_refused() -> None:
    ledger = a_ledger()
    ledger.remove(ORGANISATION)
    ledger.budget(path="budget/n/top")
    for parent in (TEAM, ORGANISATION):
        result = ledger.budget(path=ORGANISATION, parent=parent)
        assert isinstance(result, Invalid)
        assert "cycle" in result.message
    assert ledger.budget(path=ORGANISATION, parent="budget/n/top") == AccountPut()


def test_the_depth_of_the_tree_is_bounded() -> None:
    ledger = Ledger()
    ledger.budget(path="budget/n/b0")
    for depth in range(1, MAX_DEPTH):
        assert ledger.budget(path=f"budget/n/b{depth}", parent=f"budget/n/b{depth - 1}") == AccountPut()
    assert isinstance(ledger.budget(path="budget/n/deep", parent=f"budget/n/b{MAX_DEPTH - 1}"), Invalid)


def test_removing_an_account_kills_its_sessions_and_admits_nothing_under_it() -> None:
    ledger = a_ledger()
    ledger.open(path=OTHER)
    ledger.reserve(calls(1), hold="h")
    assert ledger.remove(TEAM) == AccountRemoved()
    assert ledger.usage(TEAM).state is State.REMOVED
    for path in (SESSION, OTHER):
        assert ledger.usage(path).closed_reason is SessionEnd.ACCOUNT_REMOVED
    assert isinstance(ledger.reserve(calls(1)), Refused)
    assert isinstance(ledger.extend(1, calls(1)), Refused)
    assert isinstance(ledger.open(path="session/team-a/s-3"), Refused)
    assert ledger.settle(calls(1)) == wire.Settled(), "what is under way is still charged"
    assert ledger.usage(TEAM).spent == calls(1)


def test_removing_is_repeatable_and_of_nothing_is_nothing() -> None:
    ledger = a_ledger()
    ledger.remove(TEAM)
    journalled = len(ledger.journal)
    assert ledger.remove(TEAM) == AccountRemoved()
    assert ledger.remove("budget/n/never") == AccountRemoved()
    assert isinstance(ledger.remove(SESSION), Invalid)
    assert len(ledger.journal) == journalled


def test_a_removed_agent_may_come_back_under_another_budget_and_is_charged_there() -> None:
    ledger = a_ledger()
    ledger.budget(a_limit(1), path="budget/team-a/other")
    ledger.reserve(tokens(7), hold="h")
    assert isinstance(ledger.agent(parent="budget/team-a/other"), Invalid), "not while it lives"
    ledger.remove(AGENT)
    assert ledger.agent(parent="budget/team-a/other") == AccountPut()
    ledger.settle(tokens(7))
    assert ledger.usage(TEAM).spent == tokens(7), "the hold stays where it was placed"
    assert ledger.usage("budget/team-a/other").spent == Amount()
    ledger.open(path=OTHER)
    assert ledger.reserve(calls(1), path=OTHER) == Granted(calls(1))
    assert isinstance(ledger.reserve(calls(1), path=OTHER), wire.Wait)
    assert ledger.usage(TEAM).held == Amount()


def test_a_lowered_limit_refuses_until_what_is_spent_is_below_it() -> None:
    ledger = a_ledger(a_limit(10))
    ledger.reserve(calls(6), hold="h")
    ledger.budget(a_limit(3), parent=ORGANISATION)
    waiting = ledger.reserve(calls(1))
    assert isinstance(waiting, wire.Wait)
    ledger.settle(calls(2))
    assert ledger.reserve(calls(1)) == Granted(calls(1))
    assert isinstance(ledger.extend(1, calls(1)), wire.IdReused)


def test_a_raised_limit_makes_room_at_once() -> None:
    ledger = a_ledger(a_limit(1))
    ledger.reserve(calls(1), hold="h")
    ledger.settle(calls(1))
    assert isinstance(ledger.reserve(calls(1)), Refused)
    ledger.budget(a_limit(2), parent=ORGANISATION)
    assert ledger.reserve(calls(1)) == Granted(calls(1))


@pytest.mark.parametrize("window", list(Window))
@pytest.mark.parametrize("resource", list(Resource))
def test_a_limit_added_later_has_counted_from_the_start(window: Window, resource: Resource) -> None:
    everything = Amount.of(dict.fromkeys(range(len(RESOURCES)), 4))
    ledger = a_ledger()
    ledger.reserve(everything, hold="h")
    ledger.settle(everything)
    ledger.reserve(everything, hold="g")
    for path, parent in ((TEAM, ORGANISATION), (AGENT, TEAM)):
        ledger.do(wire.PutAccount(path, (Limit(window, resource, 10),), parent), "operator")
        assert ledger.limit_usage(path) == (4, 4)


def test_an_account_says_since_when_its_windows_run_through_a_change_of_zone() -> None:
    ledger = a_ledger(a_limit(5, Window.DAY))
    ledger.budget(a_limit(5, Window.DAY), a_limit(9), parent=ORGANISATION, zone="Asia/Tokyo")
    ledger.pass_time(HOUR_MS)
    day, lifetime = ledger.usage(TEAM).limits
    assert (day.began_ms_ago, day.resets_in_ms) == (13 * HOUR_MS, 11 * HOUR_MS)
    assert (lifetime.began_ms_ago, lifetime.resets_in_ms) == (None, None)
    ledger.pass_time(12 * HOUR_MS)
    day, _ = ledger.usage(TEAM).limits
    assert (day.began_ms_ago, day.resets_in_ms) == (HOUR_MS, 38 * HOUR_MS), "until Tokyo's midnight, not the next one"
