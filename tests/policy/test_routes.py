"""A route can be called if its credential can be read, and by those that it allows."""

import pytest

from ambit.api.base import ObjectKey
from ambit.api.conditions import ConditionType
from ambit.api.model_route import Provider
from ambit.policy import CredentialState, Denied, RouteBinding, RouteUsable, SecretKey, judge_route
from ambit.policy.price import Price
from ambit.policy.routes import bind_models, grant_command
from ambit.telemetry.reasons import Denial
from tests.policy.builders import a_route, an_agent, facts

SECRET = ("platform", "anthropic", "apiKey")
PLATFORM_ROUTE = {"name": "smart", "routeRef": {"name": "smart", "namespace": "platform"}}


def test_a_route_without_a_credential_is_usable() -> None:
    assert judge_route(a_route(), facts()) == RouteUsable()


@pytest.mark.parametrize("state", [CredentialState.GRANTED, CredentialState.READABLE])
def test_a_route_with_a_credential_that_can_be_read_is_usable(state: CredentialState) -> None:
    route = a_route(namespace="platform", credential=("anthropic", "apiKey"))
    assert judge_route(route, facts(credentials={SECRET: state})) == RouteUsable()


@pytest.mark.parametrize(
    ("state", "reason", "says"),
    [
        (None, Denial.CREDENTIAL_UNKNOWN, "platform/anthropic"),
        (
            CredentialState.FORBIDDEN,
            Denial.CREDENTIAL_FORBIDDEN,
            "kubectl -n platform create rolebinding ambit-credential-reader --clusterrole=ambit-credential-reader"
            " --serviceaccount=ambit-system:ambit-gateway",
        ),
        (CredentialState.SECRET_MISSING, Denial.SECRET_MISSING, "kubectl -n platform create secret generic anthropic"),
        (CredentialState.KEY_MISSING, Denial.KEY_MISSING, "'apiKey'"),
    ],
)
def test_otherwise_it_says_what_to_do(state: CredentialState | None, reason: Denial, says: str) -> None:
    route = a_route(namespace="platform", credential=("anthropic", "apiKey"))
    verdict = judge_route(route, facts(credentials={} if state is None else {SECRET: state}))
    assert isinstance(verdict, Denied)
    (problem,) = verdict.problems
    assert problem.reason is reason
    assert problem.condition is ConditionType.READY
    assert says in problem.message


def test_the_grant_is_for_the_gateway_that_asks() -> None:
    assert grant_command("team-a", facts()).endswith("--serviceaccount=ambit-system:ambit-gateway")


def test_a_binding_is_parsed() -> None:
    route = a_route(
        namespace="platform",
        allowed={"from": "All"},
        credential=("anthropic", "apiKey"),
        price={"input": "3", "output": "15", "cacheRead": "0.30"},
    )
    agent = an_agent(models=[PLATFORM_ROUTE])
    usable, unusable = bind_models(
        agent.spec.models, "team-a", facts(route, credentials={SECRET: CredentialState.GRANTED})
    )
    assert unusable == {}
    assert usable == {
        "smart": RouteBinding(
            name="smart",
            route=ObjectKey("platform", "smart"),
            backend="primary",
            provider=Provider.ANTHROPIC,
            url="https://api.anthropic.com",
            model="claude-sonnet-5",
            credential=SecretKey(*SECRET),
            price=Price(
                input_picos=3_000_000, output_picos=15_000_000, cache_read_picos=300_000, cache_write_picos=3_000_000
            ),
            context_tokens=200_000,
            max_output_tokens=64_000,
            prompt_overhead_tokens=256,
        )
    }


def test_a_missing_route() -> None:
    _, unusable = bind_models(an_agent(models=[PLATFORM_ROUTE]).spec.models, "team-a", facts())
    assert unusable["smart"].reason is Denial.ROUTE_NOT_FOUND
    assert unusable["smart"].condition is ConditionType.RESOLVED_REFS


def test_a_route_of_another_namespace_has_to_consent() -> None:
    route = a_route(namespace="platform")
    _, unusable = bind_models(an_agent(models=[PLATFORM_ROUTE]).spec.models, "team-a", facts(route))
    assert unusable["smart"].reason is Denial.ROUTE_FORBIDDEN


def test_an_agent_is_told_of_its_routes_credential() -> None:
    route = a_route(credential=("anthropic", "apiKey"))
    agent = an_agent(models=[{"name": "smart", "routeRef": {"name": "smart"}}])
    known = facts(route, credentials={("team-a", "anthropic", "apiKey"): CredentialState.FORBIDDEN})
    _, unusable = bind_models(agent.spec.models, "team-a", known)
    assert unusable["smart"].reason is Denial.CREDENTIAL_FORBIDDEN
    assert unusable["smart"].condition is ConditionType.RESOLVED_REFS
    assert "kubectl -n team-a create rolebinding" in unusable["smart"].message
