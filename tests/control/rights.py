"""The rights that the chart gives the operator, and no others: a service account with them, and its kubeconfig."""

import json
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml

from ambit.kube import KubeClient
from ambit.kube import resources as kinds
from e2e.cluster.progress import Progress
from e2e.cluster.upstream import build, catalogue

CHART = Path(__file__).parents[2] / "charts" / "ambit"
OPERATOR = "ambit-operator"
Json = dict[str, Any]

_KINDS = {
    kind.kind: kind
    for kind in (
        kinds.SERVICE_ACCOUNTS,
        kinds.ROLES,
        kinds.ROLE_BINDINGS,
        kinds.CLUSTER_ROLES,
        kinds.CLUSTER_ROLE_BINDINGS,
    )
}


@asynccontextmanager
async def an_operators_kubeconfig(client: KubeClient, namespace: str, admin: Path, to: Path) -> AsyncGenerator[None]:
    """Writes `to`, as `admin` but with the service account that the chart makes in `namespace`."""
    made: list[tuple[kinds.Resource, str]] = []
    try:
        for manifest in _rendered(namespace):
            kind = _KINDS.get(manifest["kind"])
            if kind is None or manifest["metadata"]["name"] != OPERATOR:
                continue
            if not kind.namespaced:  # another installation may stand beside
                manifest["metadata"]["name"] = f"{OPERATOR}-{namespace}"
                made.append((kind, manifest["metadata"]["name"]))
            if manifest["kind"] == "ClusterRoleBinding":
                manifest["roleRef"]["name"] = f"{OPERATOR}-{namespace}"
            await client.apply(kind, manifest, namespace if kind.namespaced else None, field_manager="ambit-tests")
        request: Json = {"spec": {"expirationSeconds": 3600}}
        answer = await client.create(kinds.SERVICE_ACCOUNTS, request, namespace, name=OPERATOR, subresource="token")
        _write_kubeconfig(admin, to, answer["status"]["token"])
        yield
    finally:
        for kind, name in made:
            await client.delete(kind, name)


def _write_kubeconfig(admin: Path, to: Path, token: str) -> None:
    config = yaml.safe_load(admin.read_text())
    config["users"][0]["user"] = {"token": token}
    to.write_text(json.dumps(config))


def _rendered(namespace: str) -> list[Json]:
    helm = build.ensure([catalogue.HELM], Progress())["helm"]
    command = [str(helm), "template", "ambit", str(CHART), "--namespace", namespace]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]
