"""What a session may do, or why not."""

from typing import Any

import pytest

from ambit.api.base import ObjectKey
from ambit.api.budget import ResourceName, Window
from ambit.api.common import BoundsOverride
from ambit.api.conditions import ConditionType
from ambit.policy import (
    Account,
    AccountLimit,
    Allowed,
    CredentialState,
    Denied,
    Facts,
    IsolateBinding,
    SessionBounds,
    Verdict,
    judge_agent,
    judge_sandbox,
)
from ambit.policy.sessions import MAX_CODE_BYTES
from ambit.telemetry.reasons import Denial
from tests.policy.builders import CONTAINER, ISOLATE, a_budget, a_route, a_sandbox, an_agent, facts

DEFAULT = SessionBounds(usd_nanos=5 * 10**9, tokens=2_000_000, model_calls=100, runtime_ms=1_800_000)
TIGHT = {"runtime": "10m", "modelCalls": "20", "tokens": "100k", "usd": "0.50"}
LOCAL_ROUTE = {"name": "smart", "routeRef": {"name": "smart"}}


def _allowed(verdict: Verdict) -> Allowed:
    assert isinstance(verdict, Allowed), verdict
    return verdict


def _reasons(verdict: Verdict) -> list[Denial]:
    assert isinstance(verdict, Denied), verdict
    return [problem.reason for problem in verdict.problems]


def _isolate_facts(modules: dict[str, int] | None = None) -> Facts:
    return facts(
        a_budget(), pools=[("team-a", "default")], code={("team-a", "researcher"): modules or {"agent.js": 2000}}
    )


class TestBudget:
    def test_an_agent_without_a_reference_spends_the_default_budget(self) -> None:
        verdict = _allowed(judge_agent(an_agent(), facts(a_budget())))
        assert verdict.policy.budget == ObjectKey("team-a", "default")
        assert verdict.policy.account_parent == "agent/team-a/coder"
        assert verdict.account == Account(path="agent/team-a/coder", parent="budget/team-a/default")

    def test_no_default_budget(self) -> None:
        verdict = judge_agent(an_agent(), facts(a_budget("other")))
        assert _reasons(verdict) == [Denial.NO_BUDGET]
        assert isinstance(verdict, Denied)
        assert verdict.problems[0].condition is ConditionType.ACCEPTED
        assert "spec.budgetRef" in verdict.problems[0].message

    def test_a_budget_that_is_not_there(self) -> None:
        assert _reasons(judge_agent(an_agent(budget={"name": "research"}), facts(a_budget()))) == [
            Denial.BUDGET_NOT_FOUND
        ]

    def test_a_budget_of_another_namespace_has_to_consent(self) -> None:
        agent = an_agent(budget={"name": "research", "namespace": "platform"})
        unwilling = a_budget("research", "platform")
        willing = a_budget("research", "platform", allowed={"from": "All"})
        assert _reasons(judge_agent(agent, facts(unwilling))) == [Denial.BUDGET_FORBIDDEN]
        assert _allowed(judge_agent(agent, facts(willing))).policy.budget == ObjectKey("platform", "research")

    def test_a_budget_without_its_parent_is_not_spent_from(self) -> None:
        orphan = a_budget(parent=("platform", "organisation"))
        verdict = judge_agent(an_agent(), facts(orphan))
        assert _reasons(verdict) == [Denial.BUDGET_NOT_ACCEPTED]
        assert isinstance(verdict, Denied)
        assert "platform/organisation" in verdict.problems[0].message


class TestEnvironment:
    def test_a_container_is_taken_as_it_is(self) -> None:
        agent = an_agent()
        assert _allowed(judge_agent(agent, facts(a_budget()))).policy.environment == agent.spec.environment.container

    def test_an_isolate_is_bound_to_its_pool_and_code(self) -> None:
        verdict = _allowed(judge_agent(an_agent(environment=ISOLATE), _isolate_facts()))
        assert verdict.policy.environment == IsolateBinding(
            pool=ObjectKey("team-a", "default"), code=ObjectKey("team-a", "researcher"), main="agent.js"
        )

    def test_a_missing_pool(self) -> None:
        known = facts(a_budget(), code={("team-a", "researcher"): {"agent.js": 1}}, pools=[("team-b", "default")])
        assert _reasons(judge_agent(an_agent(environment=ISOLATE), known)) == [Denial.POOL_NOT_FOUND]

    def test_missing_code(self) -> None:
        known = facts(a_budget(), pools=[("team-a", "default")])
        verdict = judge_agent(an_agent(environment=ISOLATE), known)
        assert _reasons(verdict) == [Denial.CODE_NOT_FOUND]
        assert isinstance(verdict, Denied)
        assert verdict.problems[0].condition is ConditionType.RESOLVED_REFS

    def test_a_missing_main_module(self) -> None:
        known = _isolate_facts({"index.js": 10})
        assert _reasons(judge_agent(an_agent(environment=ISOLATE), known)) == [Denial.MAIN_MODULE_MISSING]

    @pytest.mark.parametrize(("size", "fits"), [(MAX_CODE_BYTES - 10, True), (MAX_CODE_BYTES - 9, False)])
    def test_the_size_is_that_of_all_modules(self, size: int, fits: bool) -> None:
        verdict = judge_agent(an_agent(environment=ISOLATE), _isolate_facts({"agent.js": 10, "lib.js": size}))
        assert isinstance(verdict, Allowed) is fits
        assert fits or _reasons(verdict) == [Denial.CODE_TOO_LARGE]

    def test_everything_that_is_wrong_is_said_the_budget_first(self) -> None:
        agent = an_agent(environment=ISOLATE, models=[LOCAL_ROUTE])
        assert _reasons(judge_agent(agent, facts())) == [
            Denial.NO_BUDGET,
            Denial.POOL_NOT_FOUND,
            Denial.ROUTE_NOT_FOUND,
        ]


class TestModels:
    def test_a_model_that_cannot_be_called_does_not_keep_the_session_from_running(self) -> None:
        agent = an_agent(models=[LOCAL_ROUTE, {"name": "other", "routeRef": {"name": "other"}}])
        verdict = _allowed(judge_agent(agent, facts(a_budget(), a_route())))
        assert list(verdict.policy.models) == ["smart"]
        assert [problem.reason for problem in verdict.problems] == [Denial.ROUTE_NOT_FOUND]
        assert list(verdict.policy.unusable) == ["other"]

    def test_an_agent_that_names_no_model_may_call_none(self) -> None:
        verdict = _allowed(judge_agent(an_agent(), facts(a_budget(), a_route())))
        assert verdict.policy.models == {}


class TestBounds:
    def test_every_bound_has_a_default(self) -> None:
        assert _allowed(judge_agent(an_agent(), facts(a_budget()))).policy.bounds == DEFAULT

    def test_an_agents_bounds_are_integers(self) -> None:
        verdict = _allowed(judge_agent(an_agent(bounds=TIGHT), facts(a_budget())))
        assert verdict.policy.bounds == SessionBounds(
            usd_nanos=500_000_000, tokens=100_000, model_calls=20, runtime_ms=600_000
        )

    @pytest.mark.parametrize(
        ("asked", "bound"),
        [
            ({"runtime": "31m"}, "runtime"),
            ({"modelCalls": 101}, "modelCalls"),
            ({"tokens": "3M"}, "tokens"),
            ({"usd": "5.01"}, "usd"),
        ],
    )
    def test_a_session_may_not_loosen_one(self, asked: dict[str, Any], bound: str) -> None:
        verdict = judge_agent(an_agent(), facts(a_budget()), BoundsOverride.model_validate(asked))
        assert _reasons(verdict) == [Denial.BOUND_ABOVE_AGENT]
        assert isinstance(verdict, Denied)
        assert f"bounds.{bound} asks for" in verdict.problems[0].message

    def test_a_session_may_tighten_one_and_keeps_the_others(self) -> None:
        verdict = judge_agent(an_agent(), facts(a_budget()), BoundsOverride(runtime="5m", usd="5"))
        assert _allowed(verdict).policy.bounds == SessionBounds(
            usd_nanos=DEFAULT.usd_nanos, tokens=DEFAULT.tokens, model_calls=DEFAULT.model_calls, runtime_ms=300_000
        )


class TestSandbox:
    def test_one_of_an_agent_is_judged_as_the_agent(self) -> None:
        agent = an_agent(models=[LOCAL_ROUTE], bounds=TIGHT)
        known = facts(a_budget(), a_route(), agent)
        assert judge_sandbox(a_sandbox(agentRef={"name": "coder"}), known) == judge_agent(agent, known)

    def test_one_of_an_agent_may_not_loosen_its_bounds(self) -> None:
        known = facts(a_budget(), an_agent(bounds=TIGHT))
        sandbox = a_sandbox(agentRef={"name": "coder"}, bounds={"usd": "0.51"})
        assert _reasons(judge_sandbox(sandbox, known)) == [Denial.BOUND_ABOVE_AGENT]

    def test_a_missing_agent(self) -> None:
        assert _reasons(judge_sandbox(a_sandbox(agentRef={"name": "coder"}), facts(a_budget()))) == [
            Denial.AGENT_NOT_FOUND
        ]

    def test_an_agent_of_another_namespace_is_not_meant(self) -> None:
        known = facts(a_budget(), an_agent(namespace="team-b"))
        assert _reasons(judge_sandbox(a_sandbox(agentRef={"name": "coder"}), known)) == [Denial.AGENT_NOT_FOUND]

    def test_an_isolate_agent_needs_none(self) -> None:
        known = facts(a_budget(), an_agent(environment=ISOLATE))
        assert _reasons(judge_sandbox(a_sandbox(agentRef={"name": "coder"}), known)) == [Denial.AGENT_IS_ISOLATE]

    def test_one_of_its_own_is_charged_to_the_budget_and_has_bounds_without_naming_any(self) -> None:
        verdict = _allowed(judge_sandbox(a_sandbox(), facts(a_budget())))
        assert verdict.account is None
        assert verdict.policy.account_parent == "budget/team-a/default"
        assert verdict.policy.bounds == DEFAULT

    def test_one_of_its_own_sets_its_bounds_freely_and_keeps_the_other_defaults(self) -> None:
        verdict = _allowed(judge_sandbox(a_sandbox(bounds={"runtime": "3h"}), facts(a_budget())))
        assert verdict.policy.bounds.runtime_ms == 3 * 3_600_000
        assert verdict.policy.bounds.usd_nanos == DEFAULT.usd_nanos

    def test_one_of_its_own_needs_a_budget(self) -> None:
        assert _reasons(judge_sandbox(a_sandbox(), facts())) == [Denial.NO_BUDGET]

    def test_one_of_its_own_calls_the_models_that_it_names(self) -> None:
        route = a_route(credential=("anthropic", "apiKey"))
        known = facts(a_budget(), route, credentials={("team-a", "anthropic", "apiKey"): CredentialState.READABLE})
        verdict = _allowed(judge_sandbox(a_sandbox(models=[LOCAL_ROUTE], environment=CONTAINER), known))
        assert list(verdict.policy.models) == ["smart"]

    def test_one_of_an_agent_that_bounds_each_user_says_whose_it_is(self) -> None:
        known = facts(a_budget(), an_agent(perUser={"limits": [{"window": "Day", "usd": "2"}]}))
        assert _reasons(judge_sandbox(a_sandbox(agentRef={"name": "coder"}), known)) == [Denial.USER_MISSING]
        verdict = _allowed(judge_sandbox(a_sandbox(agentRef={"name": "coder"}, user="ada"), known))
        assert verdict.account is not None
        assert verdict.account.user_limits == (AccountLimit(Window.DAY, ResourceName.USD, 2 * 10**9),)


def test_an_agents_account_bounds_how_many_sessions_are_open() -> None:
    verdict = _allowed(judge_agent(an_agent(concurrentSessions=3), facts(a_budget(), an_agent())))
    assert verdict.account is not None
    assert (verdict.account.concurrent_sessions, verdict.account.user_limits) == (3, None)
