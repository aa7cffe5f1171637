"""The rights that the chart gives a service account, and no others, at a real apiserver."""

import asyncio
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
async def installed_rights(kube: KubeClient, namespace: str, *names: str) -> AsyncGenerator[None]:
    """What the chart gives by objects whose names begin so, as installed in `namespace`.

    Outside of it their names carry the namespace, since others may be installed beside.
    """
    made: list[tuple[kinds.Resource, str, str | None]] = []
    try:
        for manifest in await asyncio.to_thread(_rendered, namespace):
            kind = _KINDS.get(manifest["kind"])
            metadata: Json = manifest["metadata"]
            if kind is None or not metadata["name"].startswith(names):
                continue
            home = metadata.get("namespace", namespace) if kind.namespaced else None
            if home != namespace:
                metadata["name"] = f"{metadata['name']}-{namespace}"
                made.append((kind, metadata["name"], home))
            if manifest.get("roleRef", {}).get("kind") == "ClusterRole":
                manifest["roleRef"]["name"] = f"{manifest['roleRef']['name']}-{namespace}"
            await kube.apply(kind, manifest, home, field_manager="ambit-tests")
        yield
    finally:
        for kind, name, home in made:
            await kube.delete(kind, name, home)


async def write_kubeconfig(kube: KubeClient, namespace: str, account: str, *, admin: Path, to: Path) -> None:
    """Writes `to`: as `admin`, but with a token of the service account."""
    request: Json = {"spec": {"expirationSeconds": 3600}}
    answer = await kube.create(kinds.SERVICE_ACCOUNTS, request, namespace, name=account, subresource="token")
    _with_token(admin, answer["status"]["token"], to)


def _with_token(admin: Path, token: str, to: Path) -> None:
    config: Json = yaml.safe_load(admin.read_text())
    config["users"][0]["user"] = {"token": token}
    to.write_text(json.dumps(config))


def _rendered(namespace: str) -> list[Json]:
    helm = build.ensure([catalogue.HELM], Progress())["helm"]
    command = [str(helm), "template", "ambit", str(CHART), "--namespace", namespace]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]
