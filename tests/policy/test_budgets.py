"""A Budget can be spent from if everything above it is there, consents, and comes to an end."""

import pytest

from ambit.api.budget import Budget, Enforcement, ResourceName, WhenExhausted, Window
from ambit.policy import Account, AccountLimit, AccountTopUp, BudgetAccepted, Denied, Facts, judge_budget
from ambit.policy.budgets import MAX_DEPTH
from ambit.telemetry.reasons import Denial
from tests.policy.builders import a_budget, facts

ALL = {"from": "All"}


def _reason(budget: Budget, known: Facts) -> tuple[Denial, str]:
    verdict = judge_budget(budget, known)
    assert isinstance(verdict, Denied)
    (problem,) = verdict.problems
    return problem.reason, problem.message


def test_its_account_has_integer_limits_and_its_parent_as_parent() -> None:
    organisation = a_budget("organisation", "platform", allowed=ALL)
    budget = a_budget(
        "research",
        parent=("platform", "organisation"),
        limits=[
            {"window": "Lifetime", "usd": "2500", "runtime": "2h"},
            {"window": "Minute", "tokens": "2M", "modelCalls": 600},
            {"window": "Week", "inputTokens": "1500k", "outputTokens": "500k"},
        ],
        time_zone="Europe/Berlin",
    )
    assert judge_budget(budget, facts(budget, organisation)) == BudgetAccepted(
        Account(
            path="budget/team-a/research",
            parent="budget/platform/organisation",
            limits=(
                AccountLimit(Window.LIFETIME, ResourceName.USD, 2500 * 10**9),
                AccountLimit(Window.LIFETIME, ResourceName.RUNTIME, 7_200_000),
                AccountLimit(Window.MINUTE, ResourceName.TOKENS, 2_000_000),
                AccountLimit(Window.MINUTE, ResourceName.MODEL_CALLS, 600),
                AccountLimit(Window.WEEK, ResourceName.INPUT_TOKENS, 1_500_000),
                AccountLimit(Window.WEEK, ResourceName.OUTPUT_TOKENS, 500_000),
            ),
            time_zone="Europe/Berlin",
        )
    )


def test_a_limit_of_zero_is_a_limit() -> None:
    budget = a_budget(limits=[{"window": "Lifetime", "usd": "0"}])
    verdict = judge_budget(budget, facts(budget))
    assert isinstance(verdict, BudgetAccepted)
    assert verdict.account.limits == (AccountLimit(Window.LIFETIME, ResourceName.USD, 0),)


def test_a_missing_parent() -> None:
    budget = a_budget(parent=("platform", "organisation"))
    reason, message = _reason(budget, facts(budget))
    assert reason is Denial.PARENT_NOT_FOUND
    assert "platform/organisation" in message


def test_a_missing_grandparent_too() -> None:
    budget = a_budget("low", parent=("team-a", "middle"))
    middle = a_budget("middle", parent=("team-a", "top"))
    assert _reason(budget, facts(budget, middle))[0] is Denial.PARENT_NOT_FOUND


def test_a_parent_of_another_namespace_has_to_consent() -> None:
    budget = a_budget(parent=("platform", "organisation"))
    unwilling = a_budget("organisation", "platform")
    reason, message = _reason(budget, facts(budget, unwilling))
    assert reason is Denial.PARENT_FORBIDDEN
    assert "allowedNamespaces" in message


def test_consent_is_needed_at_each_step_by_the_namespace_of_the_step() -> None:
    only_b = {"from": "Selector", "selector": {"matchLabels": {"team": "b"}}}
    top = a_budget("top", "platform", allowed=only_b)
    middle = a_budget("middle", "team-b", parent=("platform", "top"), allowed=ALL)
    low = a_budget("low", "team-a", parent=("team-b", "middle"))
    known = facts(top, middle, low, namespaces={"team-a": {"team": "a"}, "team-b": {"team": "b"}})
    assert isinstance(judge_budget(low, known), BudgetAccepted)
    direct = a_budget("direct", "team-a", parent=("platform", "top"))
    assert _reason(direct, known)[0] is Denial.PARENT_FORBIDDEN


@pytest.mark.parametrize("length", [1, 2, 5])
def test_a_cycle_of_any_length_is_found_from_every_budget_in_it(length: int) -> None:
    ring = [a_budget(f"b{index}", parent=("team-a", f"b{(index + 1) % length}")) for index in range(length)]
    for budget in ring:
        reason, message = _reason(budget, facts(*ring))
        assert reason is Denial.PARENT_CYCLE
        assert " → " in message


def test_a_cycle_above_is_found_from_below() -> None:
    low = a_budget("low", parent=("team-a", "b0"))
    ring = [a_budget(f"b{index}", parent=("team-a", f"b{1 - index}")) for index in range(2)]
    assert _reason(low, facts(low, *ring))[0] is Denial.PARENT_CYCLE


def test_the_chain_is_bounded() -> None:
    chain = [a_budget(f"b{index}", parent=("team-a", f"b{index + 1}")) for index in range(MAX_DEPTH)]
    top = a_budget(f"b{MAX_DEPTH}")
    known = facts(*chain, top)
    assert _reason(chain[0], known)[0] is Denial.PARENTS_TOO_DEEP
    assert isinstance(judge_budget(chain[1], known), BudgetAccepted)


def test_a_time_zone_that_does_not_exist() -> None:
    budget = a_budget(time_zone="Europe/Atlantis")
    reason, message = _reason(budget, facts(budget))
    assert reason is Denial.TIME_ZONE_UNKNOWN
    assert "Europe/Berlin" in message


def test_a_parents_time_zone_counts_too() -> None:
    budget = a_budget(parent=("team-a", "top"))
    top = a_budget("top", time_zone="Nowhere")
    assert _reason(budget, facts(budget, top))[0] is Denial.TIME_ZONE_UNKNOWN


def test_its_account_has_all_its_terms() -> None:
    budget = a_budget(
        concurrentSessions=5,
        warnAt=[95, 50, 50],
        enforcement="Shadow",
        whenExhausted="Terminate",
        topUps=[
            {"id": "money", "window": "Month", "resource": "usd", "amount": "0.5"},
            {"id": "time", "window": "Lifetime", "resource": "runtime", "amount": "90s"},
            {"id": "words", "window": "Day", "resource": "outputTokens", "amount": "2M"},
        ],
    )
    verdict = judge_budget(budget, facts(budget))
    assert isinstance(verdict, BudgetAccepted)
    assert verdict.account == Account(
        path="budget/team-a/default",
        parent=None,
        limits=(AccountLimit(Window.DAY, ResourceName.USD, 200 * 10**9),),
        time_zone="Etc/UTC",
        concurrent_sessions=5,
        enforcement=Enforcement.SHADOW,
        warn_at=(50, 95),
        top_ups=(
            AccountTopUp("money", Window.MONTH, ResourceName.USD, 500_000_000),
            AccountTopUp("time", Window.LIFETIME, ResourceName.RUNTIME, 90_000),
            AccountTopUp("words", Window.DAY, ResourceName.OUTPUT_TOKENS, 2_000_000),
        ),
        when_exhausted=WhenExhausted.TERMINATE,
    )
