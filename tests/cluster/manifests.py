"""Builders of manifests: each gives the smallest one that is accepted, and takes what a test is about."""

from typing import Any

Manifest = dict[str, Any]
API_VERSION = "ambit.dev/v1alpha1"
MODEL_NAMESPACE = "ambit-test-models"


def resource(kind: str, name: str, spec: Manifest) -> Manifest:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}


def a_budget(name: str = "team", *, limits: list[Manifest] | None = None, parent: str | None = None) -> Manifest:
    spec: Manifest = {"limits": limits or [{"window": "Lifetime", "usd": "10"}]}
    if parent:
        spec["parentRef"] = {"name": parent}
    return resource("Budget", name, spec)


def a_route(name: str = "scripted", *, provider: str = "OpenAI", url: str | None = None) -> Manifest:
    backend: Manifest = {
        "name": "scripted",
        "provider": provider,
        "url": url or f"http://scripted.{MODEL_NAMESPACE}:8080",
        "model": "scripted",
        "price": {"input": "1", "output": "1"},
        "limits": {"contextTokens": 8192, "maxOutputTokens": 1024},
    }
    return resource("ModelRoute", name, {"backends": [backend]})


def a_pool(name: str = "default") -> Manifest:
    return resource("SandboxPool", name, {"isolate": {"hosts": {"min": 1}}})


def an_agent(name: str, environment: Manifest, **spec: Any) -> Manifest:
    return resource(
        "Agent",
        name,
        {
            "budgetRef": {"name": "team"},
            "environment": environment,
            "models": [{"name": "scripted", "routeRef": {"name": "scripted"}}],
            **spec,
        },
    )


def a_container(image: str, *command: str, **more: Any) -> Manifest:
    return {"container": {"image": image, "command": list(command), **more}}


def an_isolate(code: str = "code") -> Manifest:
    return {"isolate": {"code": {"configMapRef": {"name": code}, "main": "agent.js"}}}


def code(source: str, name: str = "code") -> Manifest:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"agent.js": source}}
