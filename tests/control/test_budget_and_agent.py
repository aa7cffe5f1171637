"""What Budgets and Agents say of themselves: the first cause, in the order in which a person would look."""

from datetime import UTC, datetime
from typing import Any

import pytest

from ambit.api.agent import Agent
from ambit.api.base import ObjectKey
from ambit.api.budget import Budget, BudgetStatus, ResourceName, Window
from ambit.api.conditions import Condition, ConditionStatus, ConditionType, find
from ambit.api.sandbox_pool import SandboxPool
from ambit.control.accounts import SeenUsage, put_operation
from ambit.control.enforcement import ENFORCED, Enforcement
from ambit.control.reconcilers.agent import decide as agents
from ambit.control.reconcilers.budget import decide as budgets
from ambit.control.reconcilers.budget.usage import window_bounds
from ambit.ledger import wire
from ambit.ledger.amounts import Limit, Resource
from ambit.ledger.amounts import Window as LedgerWindow
from ambit.policy import Denied, Facts, judge_agent, judge_budget
from ambit.policy.sessions import agent_account
from ambit.telemetry.reasons import Progress
from tests.control.builders import a_sandbox
from tests.policy.builders import GATEWAY, ISOLATE, a_budget, an_agent

NOW = datetime(2026, 11, 21, 12, 0, 0, 250_000, tzinfo=UTC)
DAY_MS = 12 * 3600 * 1000 - 250
BUDGET = ObjectKey("team-a", "default")
DAY_LIMIT = Limit(LedgerWindow.DAY, Resource.USD, 200 * 10**9)
AWAY = Enforcement(holds=False, reason=Progress.LEDGER_AWAY, message="no answer")


def a_limit_usage(
    spent: int,
    held: int = 0,
    window: LedgerWindow = LedgerWindow.DAY,
    limit: int = 200 * 10**9,
    *,
    resource: Resource = Resource.USD,
    refused_from: int = 0,
) -> wire.LimitUsage:
    resets = {LedgerWindow.DAY: DAY_MS, LedgerWindow.MINUTE: 30_000}.get(window)
    return wire.LimitUsage(window, resource, limit, spent, held, resets, refused_from=refused_from)


def seen_usage(*limits: wire.LimitUsage, enforcement: wire.Enforcement = wire.Enforcement.ENFORCE) -> SeenUsage:
    usage = wire.Usage("budget/team-a/default", wire.State.OPEN, limits=limits, enforcement=enforcement)
    return SeenUsage(usage, NOW)


def usage(spent: int, held: int = 0, window: LedgerWindow = LedgerWindow.DAY, refused_from: int = 0) -> SeenUsage:
    return seen_usage(a_limit_usage(spent, held, window, refused_from=refused_from))


def budget_status(
    budget: Budget, *, enforcement: Enforcement = ENFORCED, seen: SeenUsage | None = None
) -> BudgetStatus:
    return decision(budget, enforcement=enforcement, seen=seen).status


def decision(budget: Budget, *, enforcement: Enforcement = ENFORCED, seen: SeenUsage | None = None) -> budgets.Decision:
    verdict = judge_budget(budget, Facts(gateway=GATEWAY, budgets={budget.key: budget}))
    return budgets.decide(budgets.Snapshot(budget, verdict, enforcement, seen), NOW)


def said(status: Any, condition: ConditionType = ConditionType.READY) -> tuple[str, str]:
    found = find(status.conditions, condition)
    assert found is not None
    return found.status.value, found.reason


# -- Budgets ------------------------------------------------------------------------


def test_a_budget_that_the_ledger_does_not_hold_is_not_enforced() -> None:
    status = budget_status(a_budget(), enforcement=AWAY)
    assert said(status, ConditionType.ENFORCED) == ("False", "LedgerAway")
    assert said(status) == ("False", "LedgerAway")


def test_usage_is_shown_in_the_units_of_the_limit_with_what_remains() -> None:
    status = budget_status(a_budget(), seen=usage(131_200_000_000, 4_100_000_000))
    [window] = status.limits
    assert (window.window, window.start, window.end) == (Window.DAY, "2026-11-21T00:00:00Z", "2026-11-22T00:00:00Z")
    [entry] = window.usage
    assert entry.resource is ResourceName.USD
    assert (entry.limit, entry.spent, entry.held, entry.remaining) == ("200", "131.20", "4.10", "64.70")


def test_a_window_begins_when_the_ledger_says_whatever_the_zone_is_now() -> None:
    """The Day of the zone before began at its midnight; or, after the change, where that Day ended: it is longer."""
    entry = wire.LimitUsage(LedgerWindow.DAY, Resource.USD, 10**9, 0, 0, DAY_MS, 20 * 3600 * 1000 + 250)
    seen = SeenUsage(wire.Usage("budget/team-a/default", wire.State.OPEN, limits=(entry,)), NOW)
    [window] = budget_status(a_budget(), seen=seen).limits
    assert (window.start, window.end) == ("2026-11-20T16:00:00Z", "2026-11-22T00:00:00Z")


def test_a_lowered_limit_leaves_nothing_and_not_less() -> None:
    assert budget_status(a_budget(), seen=usage(300 * 10**9)).limits[0].usage[0].remaining == "0"


@pytest.mark.parametrize(
    ("seen", "within", "reason"),
    [
        (usage(199 * 10**9), "True", "Ready"),
        (usage(200 * 10**9), "False", "LimitExhausted"),
        (usage(10**9, 199 * 10**9), "True", "Ready"),
        (usage(200 * 10**9, window=LedgerWindow.MINUTE), "True", "Ready"),
        (usage(199 * 10**9, refused_from=2 * 10**9), "False", "TooLittleLeft"),
        (usage(200 * 10**9, refused_from=2 * 10**9), "False", "LimitExhausted"),
    ],
    ids=["room", "spent", "only held", "a minute never exhausts", "less than is needed", "spent and refused"],
)
def test_exhausted_is_what_is_spent_until_its_window_ends(seen: SeenUsage, within: str, reason: str) -> None:
    status = budget_status(a_budget(), seen=seen)
    assert said(status, ConditionType.WITHIN_BUDGET)[0] == within
    assert said(status) == ("True", reason)


def test_a_day_is_the_civil_day_of_the_zone_however_long_the_answer_travelled() -> None:
    for late_ms in (0, 900, 20_000):
        start, end = window_bounds(Window.DAY, NOW, 11 * 3600 * 1000 - late_ms, "Europe/Berlin")
        assert (start.isoformat(), end.isoformat()) == ("2026-11-20T23:00:00+00:00", "2026-11-21T23:00:00+00:00")
    spring = datetime(2026, 3, 29, 12, tzinfo=UTC)
    start, end = window_bounds(Window.DAY, spring, 10 * 3600 * 1000, "Europe/Berlin")
    assert (end - start).total_seconds() == 23 * 3600


@pytest.mark.parametrize(
    ("window", "left_h", "start", "end"),
    [
        (Window.HOUR, 1, "2026-11-21T12:00:00+00:00", "2026-11-21T13:00:00+00:00"),
        (Window.WEEK, 35, "2026-11-15T23:00:00+00:00", "2026-11-22T23:00:00+00:00"),
        (Window.MONTH, 227, "2026-10-31T23:00:00+00:00", "2026-11-30T23:00:00+00:00"),
    ],
)
def test_hours_weeks_and_months_are_those_of_the_zone(window: Window, left_h: int, start: str, end: str) -> None:
    bounds = window_bounds(window, NOW, left_h * 3600 * 1000 - 250, "Europe/Berlin")
    assert tuple(instant.isoformat() for instant in bounds) == (start, end)


def test_a_minutes_bounds_are_not_written() -> None:
    [window] = budget_status(a_budget(), seen=usage(1, window=LedgerWindow.MINUTE)).limits
    assert (window.start, window.end) == (None, None)


# -- Agents ---------------------------------------------------------------------------


def agent_status(agent: Agent, **changes: Any) -> Any:
    budget = a_budget()
    facts = Facts(
        gateway=GATEWAY,
        budgets={budget.key: budget} if changes.pop("has_budget", True) else {},
        pools={("team-a", "default"): None},  # pyright: ignore[reportArgumentType] -- a plain tuple is an equal key
        code={("team-a", "researcher"): {"agent.js": 10}},  # pyright: ignore[reportArgumentType] -- as above
    )
    snapshot = agents.Snapshot(
        agent=agent,
        verdict=judge_agent(agent, facts),
        enforcement=changes.pop("enforcement", ENFORCED),
        budgets=changes.pop("budgets", (budget,)),
        pool=changes.pop("pool", None),
        newest=changes.pop("newest", None),
        active=changes.pop("active", 0),
    )
    assert not changes
    return agents.status_of(snapshot, NOW)


def exhausted(budget: Budget, reason: str = "LimitExhausted") -> Budget:
    condition = Condition(
        type=ConditionType.WITHIN_BUDGET,
        status=ConditionStatus.FALSE,
        reason=reason,
        message="usd per Day: 200 of 200 spent",
        last_transition_time="2026-11-21T00:00:00Z",
    )
    return budget.model_copy(update={"status": BudgetStatus(conditions=(condition,))})


def failed_sandbox(reason: str, message: str) -> Any:
    condition = {
        "type": "Ready",
        "status": "False",
        "reason": reason,
        "message": message,
        "lastTransitionTime": "2026-11-21T00:00:00Z",
    }
    return a_sandbox(status={"conditions": [condition]})


A_POOL = SandboxPool.from_dict({"metadata": {"name": "default", "namespace": "team-a"}, "spec": {}})
MODELS = [{"name": "smart", "routeRef": {"name": "smart"}}]


@pytest.mark.parametrize(
    ("agent", "changes", "expected"),
    [
        pytest.param(an_agent(), {}, ("True", "Ready"), id="all in order"),
        pytest.param(an_agent(), {"has_budget": False}, ("False", "NoBudget"), id="no Budget"),
        pytest.param(an_agent(models=MODELS), {}, ("False", "RouteNotFound"), id="no route"),
        pytest.param(an_agent(), {"enforcement": AWAY}, ("False", "LedgerAway"), id="no account"),
        pytest.param(
            an_agent(),
            {"budgets": (a_budget(), exhausted(a_budget("org")))},
            ("False", "LimitExhausted"),
            id="spent out",
        ),
        pytest.param(
            an_agent(),
            {"budgets": (a_budget(), exhausted(a_budget("org", enforcement="Shadow")))},
            ("True", "Ready"),
            id="spent out in Shadow",
        ),
        pytest.param(
            an_agent(),
            {"budgets": (exhausted(a_budget(), "TooLittleLeft"),)},
            ("True", "TooLittleLeft"),
            id="too little left: what is smaller has room",
        ),
        pytest.param(
            an_agent(),
            {"budgets": (exhausted(a_budget(), "TooLittleLeft"), exhausted(a_budget("org")))},
            ("False", "LimitExhausted"),
            id="too little left, and nothing above",
        ),
        pytest.param(
            an_agent(),
            {"budgets": (exhausted(a_budget(enforcement="Shadow"), "TooLittleLeft"),)},
            ("True", "Ready"),
            id="too little left in Shadow",
        ),
        pytest.param(
            an_agent(environment=ISOLATE),
            {"pool": A_POOL, "budgets": (exhausted(a_budget(), "TooLittleLeft"),)},
            ("False", "HostsNotReady"),
            id="too little left, and no host",
        ),
        pytest.param(an_agent(environment=ISOLATE), {"pool": A_POOL}, ("False", "HostsNotReady"), id="no host"),
        pytest.param(
            an_agent(),
            {"newest": failed_sandbox("ImagePullFailed", "image registry.example/coder:1.4: not found")},
            ("False", "ImagePullFailed"),
            id="an image that is not there",
        ),
        pytest.param(
            an_agent(),
            {"newest": failed_sandbox("ImagePullFailed", "image registry.example/typo:1: not found")},
            ("True", "Ready"),
            id="an image that is no longer named",
        ),
        pytest.param(
            an_agent(),
            {"newest": failed_sandbox("Failed", "exited with code 1")},
            ("True", "Ready"),
            id="a program's own failure",
        ),
    ],
)
def test_the_first_cause_is_the_agents_reason(agent: Agent, changes: dict[str, Any], expected: tuple[str, str]) -> None:
    assert said(agent_status(agent, **changes)) == expected


def test_an_agent_tells_of_too_little_left_without_figures_that_change_with_every_call() -> None:
    status = agent_status(an_agent(), budgets=(exhausted(a_budget(), "TooLittleLeft"),))
    within = find(status.conditions, ConditionType.WITHIN_BUDGET)
    assert within is not None
    assert (within.status, within.reason) == (ConditionStatus.FALSE, "TooLittleLeft")
    assert within.message.startswith("Budget team-a/default ")
    assert "200" not in within.message


def test_a_status_written_again_is_the_same() -> None:
    agent = an_agent(models=MODELS)
    first = agent_status(agent)
    again = agent_status(agent.model_copy(update={"status": first}))
    assert again == first


def test_the_ledger_is_told_every_term_of_a_budget() -> None:
    terms: dict[str, Any] = {
        "concurrentSessions": 5,
        "warnAt": [80],
        "enforcement": "Shadow",
        "whenExhausted": "Terminate",
        "topUps": [{"id": "extra", "window": "Month", "resource": "usd", "amount": "1"}],
    }
    verdict = judge_budget(a_budget(**terms), Facts(gateway=GATEWAY))
    assert not isinstance(verdict, Denied)
    assert put_operation(verdict.account, "Europe/Berlin") == wire.PutAccount(
        path="budget/team-a/default",
        limits=(DAY_LIMIT,),
        time_zone="Europe/Berlin",
        concurrent_sessions=5,
        enforcement=wire.Enforcement.SHADOW,
        warn_at=(80,),
        top_ups=(wire.TopUp("extra", LedgerWindow.MONTH, Resource.USD, 10**9),),
        when_exhausted=wire.WhenExhausted.TERMINATE,
    )
    agent = agent_account(an_agent(concurrentSessions=2, perUser={"limits": [{"window": "Day", "usd": "200"}]}), BUDGET)
    assert put_operation(agent, "Etc/UTC") == wire.PutAccount(
        path="agent/team-a/coder", parent="budget/team-a/default", concurrent_sessions=2, user_limits=(DAY_LIMIT,)
    )
