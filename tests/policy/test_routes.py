"""A route can be called if its credential can be read, and by those that it allows."""

import pytest

from ambit.api.base import ObjectKey
from ambit.api.conditions import ConditionType
from ambit.api.model_route import FallbackCause, OnDisconnect, Provider, Reasoning
from ambit.policy import CredentialState, Denied, RouteBinding, RouteUsable, SecretKey, UsableModel, judge_route
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
        "smart": UsableModel(
            name="smart",
            route=ObjectKey("platform", "smart"),
            provider=Provider.ANTHROPIC,
            backends=(
                RouteBinding(
                    name="smart",
                    route=ObjectKey("platform", "smart"),
                    backend="primary",
                    provider=Provider.ANTHROPIC,
                    url="https://api.anthropic.com",
                    model="claude-sonnet-5",
                    credential=SecretKey(*SECRET),
                    price=Price(
                        input_picos=3_000_000,
                        output_picos=15_000_000,
                        cache_read_picos=300_000,
                        cache_write_picos=3_000_000,
                    ),
                    context_tokens=200_000,
                    max_output_tokens=64_000,
                    prompt_overhead_tokens=256,
                ),
            ),
            fall_back_when=frozenset(FallbackCause),
            max_attempts=3,
        )
    }


def test_each_backend_has_its_own_name_for_the_model_and_its_own_price_and_terms() -> None:
    second = {
        "name": "second",
        "model": "claude-sonnet-5@eu",
        "url": "https://models.example/eu",
        "price": {"input": "4", "output": "20"},
        "priority": 1,
        "weight": 3,
        "maxConcurrent": 2,
        "firstByteTimeout": "1m30s",
        "onDisconnect": "Stops",
        "reasoning": "Hidden",
    }
    route = a_route(more_backends=[second], fallback={"when": ["RateLimited"], "maxAttempts": 2})
    usable, _ = bind_models(
        an_agent(models=[{"name": "m", "routeRef": {"name": "smart"}}]).spec.models, "team-a", facts(route)
    )
    model = usable["m"]
    assert (model.fall_back_when, model.max_attempts) == ({FallbackCause.RATE_LIMITED}, 2)
    first, other = model.backends
    assert (first.model, first.priority, first.weight, first.max_concurrent, first.first_byte_ms) == (
        *("claude-sonnet-5", 0, 1),
        *(None, None),
    )
    assert (other.model, other.url, other.price) == (
        "claude-sonnet-5@eu",
        "https://models.example/eu",
        Price(4_000_000, 20_000_000, 4_000_000, 4_000_000),
    )
    assert (other.priority, other.weight, other.max_concurrent, other.first_byte_ms) == (1, 3, 2, 90_000)
    assert (first.on_disconnect, first.reasoning) == (OnDisconnect.CONTINUES, None)
    assert (other.on_disconnect, other.reasoning) == (OnDisconnect.STOPS, Reasoning.HIDDEN)


def test_a_backend_whose_key_cannot_be_read_leaves_the_others() -> None:
    second = {"name": "second", "credentialRef": {"name": "other", "key": "apiKey"}}
    route = a_route(credential=("anthropic", "apiKey"), more_backends=[second])
    states = {
        ("team-a", "anthropic", "apiKey"): CredentialState.SECRET_MISSING,
        ("team-a", "other", "apiKey"): CredentialState.READABLE,
    }
    known = facts(route, credentials=states)
    verdict = judge_route(route, known)
    assert isinstance(verdict, RouteUsable)
    (problem,) = verdict.unusable
    assert problem.reason is Denial.SECRET_MISSING
    assert problem.message.startswith("backend primary: there is no Secret team-a/anthropic")
    usable, _ = bind_models(
        an_agent(models=[{"name": "m", "routeRef": {"name": "smart"}}]).spec.models, "team-a", known
    )
    assert [backend.backend for backend in usable["m"].backends] == ["second"]
    neither = facts(route, credentials=dict.fromkeys(states, CredentialState.KEY_MISSING))
    denied = judge_route(route, neither)
    assert isinstance(denied, Denied)
    assert len(denied.problems) == 2


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
