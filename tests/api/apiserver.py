"""The real apiserver of KUBECONFIG, as the tests of the API need it: CRDs installed, dry runs, verbatim refusals."""

import json
import os
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from ambit.api.generate import RESOURCES
from ambit.api.names import API_VERSION
from ambit.kube.config import KubeConfig

CRDS = Path(__file__).parents[2] / "crds"
_PLURALS = {resource.resource.kind: resource.resource.plural for resource in RESOURCES}


@dataclass(frozen=True)
class ApiServer:
    """One namespace of it."""

    http: httpx.Client
    namespace: str

    def path(self, kind: str, name: str | None = None) -> str:
        """Where objects of that kind are, or one of them."""
        collection = f"/apis/{API_VERSION}/namespaces/{self.namespace}/{_PLURALS[kind]}"
        return collection if name is None else f"{collection}/{name}"

    def create(self, manifest: dict[str, Any], *, dry_run: bool = False) -> httpx.Response:
        """Creates it, unknown fields refused as `kubectl` has it."""
        query = {"fieldValidation": "Strict"} | ({"dryRun": "All"} if dry_run else {})
        return self.http.post(self.path(manifest["kind"]), params=query, json=manifest)

    def replace(self, manifest: dict[str, Any]) -> httpx.Response:
        """Tries to put it in the place of the one that is there."""
        query = {"fieldValidation": "Strict", "dryRun": "All"}
        return self.http.put(self.path(manifest["kind"], manifest["metadata"]["name"]), params=query, json=manifest)

    def delete(self, manifest: dict[str, Any]) -> httpx.Response:
        """Deletes it."""
        return self.http.delete(self.path(manifest["kind"], manifest["metadata"]["name"]))


@contextmanager
def connected() -> Generator[ApiServer]:
    """The apiserver with our CRDs, and a namespace that lasts as long as the block."""
    config = KubeConfig.load(os.environ)
    if config.tls is None:
        raise RuntimeError("the apiserver of KUBECONFIG has no TLS")
    with httpx.Client(base_url=config.server, verify=config.tls, timeout=30) as http:
        if config.token is not None:
            http.headers["Authorization"] = f"Bearer {config.token()}"
        _install_crds(http)
        namespace = f"api-test-{uuid.uuid4().hex[:8]}"
        http.post("/api/v1/namespaces", json={"metadata": {"name": namespace}}).raise_for_status()
        try:
            yield ApiServer(http, namespace)
        finally:
            http.delete(f"/api/v1/namespaces/{namespace}").raise_for_status()


def _install_crds(http: httpx.Client) -> None:
    collection = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    for path in sorted(CRDS.glob("*.yaml")):
        manifest = yaml.safe_load(path.read_text())
        name = manifest["metadata"]["name"]
        response = http.patch(
            f"{collection}/{name}",
            params={"fieldManager": "ambit-tests", "force": "true"},
            content=json.dumps(manifest),
            headers={"Content-Type": "application/apply-patch+yaml"},
        )
        if response.is_error:
            pytest.fail(f"the apiserver refuses {path.name}: {response.json()['message']}")
        _wait_until_served(http, f"{collection}/{name}", response.json())


def _wait_until_served(http: httpx.Client, path: str, crd: dict[str, Any]) -> None:
    """Waits, by a watch, until the CRD is established; a changed schema is served from then on too."""
    collection, name = path.rsplit("/", 1)
    if _established(crd):
        return
    query = {"watch": "true", "fieldSelector": f"metadata.name={name}", "timeoutSeconds": "30"}
    with http.stream("GET", collection, params=query) as events:
        for line in events.iter_lines():
            if _established(json.loads(line)["object"]):
                return
    pytest.fail(f"{name} was not established within 30 s")


def _established(crd: dict[str, Any]) -> bool:
    conditions: list[dict[str, Any]] | None = crd.get("status", {}).get("conditions")  # null while it is new
    return any(condition["type"] == "Established" and condition["status"] == "True" for condition in conditions or ())
