"""Builders of manifests: each gives the smallest one that is accepted, and takes what a test is about."""

from collections.abc import Mapping
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


def a_scripted_model(images: Mapping[str, str]) -> list[Manifest]:
    """The scripted model server in a namespace of its own, which lets in nobody but the gateway."""
    labels = {"app": "scripted"}
    container = {
        "name": "scripted",
        "image": images["test-model-server"],
        "ports": [{"containerPort": 8000}],
        "readinessProbe": {"tcpSocket": {"port": 8000}, "periodSeconds": 1},
    }
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
    }
    place = {"name": "scripted", "namespace": MODEL_NAMESPACE}
    gateway = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ambit-system"}},
        "podSelector": {"matchLabels": {"ambit.dev/component": "gateway"}},
    }
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": MODEL_NAMESPACE}},
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": place,
            "spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [gateway]}]},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": place,
            "spec": {"selector": {"matchLabels": labels}, "template": template},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": place,
            "spec": {"selector": labels, "ports": [{"port": 8080, "targetPort": 8000}]},
        },
    ]
