"""Builders of objects and facts: each argument is what a test is about, the rest is in order."""

from collections.abc import Iterable, Mapping
from typing import Any

from ambit.api.agent import Agent
from ambit.api.base import ObjectKey
from ambit.api.budget import Budget
from ambit.api.model_route import ModelRoute
from ambit.api.sandbox import Sandbox
from ambit.policy import CredentialState, Facts, GatewayAccount, SecretKey

GATEWAY = GatewayAccount("ambit-system", "ambit-gateway")


def a_budget(
    name: str = "default",
    namespace: str = "team-a",
    *,
    parent: tuple[str, str] | None = None,
    allowed: dict[str, Any] | None = None,
    limits: list[dict[str, Any]] | None = None,
    time_zone: str = "Etc/UTC",
    **terms: Any,
) -> Budget:
    """`parent` is (namespace, name)."""
    spec: dict[str, Any] = {"limits": limits or [{"window": "Day", "usd": "200"}], "timeZone": time_zone, **terms}
    if parent is not None:
        spec["parentRef"] = {"namespace": parent[0], "name": parent[1]}
    if allowed is not None:
        spec["allowedNamespaces"] = allowed
    return Budget.from_dict({"metadata": {"name": name, "namespace": namespace}, "spec": spec})


def a_route(
    name: str = "smart",
    namespace: str = "team-a",
    *,
    allowed: dict[str, Any] | None = None,
    credential: tuple[str, str] | None = None,
    price: dict[str, str] | None = None,
    more_backends: Iterable[dict[str, Any]] = (),
    fallback: dict[str, Any] | None = None,
) -> ModelRoute:
    """`credential` is (name, key) of a Secret. Further backends are the first but for what is given."""
    backend: dict[str, Any] = {
        "name": "primary",
        "provider": "Anthropic",
        "url": "https://api.anthropic.com",
        "model": "claude-sonnet-5",
        "price": price or {"input": "3", "output": "15"},
        "limits": {"contextTokens": "200k", "maxOutputTokens": "64k"},
    }
    if credential is not None:
        backend["credentialRef"] = {"name": credential[0], "key": credential[1]}
    spec: dict[str, Any] = {"backends": [backend, *({**backend, **other} for other in more_backends)]}
    if fallback is not None:
        spec["fallback"] = fallback
    if allowed is not None:
        spec["allowedNamespaces"] = allowed
    return ModelRoute.from_dict({"metadata": {"name": name, "namespace": namespace}, "spec": spec})


ISOLATE: dict[str, Any] = {"isolate": {"code": {"configMapRef": {"name": "researcher"}}}}
CONTAINER: dict[str, Any] = {"container": {"image": "registry.example/coder:1.4"}}


def an_agent(
    name: str = "coder",
    namespace: str = "team-a",
    *,
    budget: dict[str, str] | None = None,
    environment: dict[str, Any] | None = None,
    models: list[dict[str, Any]] | None = None,
    bounds: dict[str, str] | None = None,
    **terms: Any,
) -> Agent:
    """In a container, unless another environment is given."""
    spec: dict[str, Any] = {
        "environment": environment or CONTAINER,
        "models": models or [],
        "bounds": bounds or {},
        **terms,
    }
    if budget is not None:
        spec["budgetRef"] = budget
    return Agent.from_dict({"metadata": {"name": name, "namespace": namespace}, "spec": spec})


def a_sandbox(name: str = "a-sandbox", namespace: str = "team-a", **spec: Any) -> Sandbox:
    """With these fields of the spec, camelCase; in a container of its own if it names no Agent."""
    if "agentRef" not in spec:
        spec = {"environment": CONTAINER, **spec}
    return Sandbox.from_dict({"metadata": {"name": name, "namespace": namespace}, "spec": spec})


def facts(
    *objects: Budget | Agent | ModelRoute,
    pools: Iterable[tuple[str, str]] = (),
    code: Mapping[tuple[str, str], Mapping[str, int]] | None = None,
    namespaces: Mapping[str, Mapping[str, str]] | None = None,
    credentials: Mapping[tuple[str, str, str], CredentialState] | None = None,
) -> Facts:
    """What there is."""
    return Facts(
        gateway=GATEWAY,
        budgets={obj.key: obj for obj in objects if isinstance(obj, Budget)},
        agents={obj.key: obj for obj in objects if isinstance(obj, Agent)},
        routes={obj.key: obj for obj in objects if isinstance(obj, ModelRoute)},
        pools={ObjectKey(*key): object() for key in pools},
        code={ObjectKey(*key): modules for key, modules in (code or {}).items()},
        namespaces=namespaces or {},
        credentials={SecretKey(*key): state for key, state in (credentials or {}).items()},
    )
