"""A gateway process as it is installed: the chart's rights and no others at a real apiserver, a real ledger process."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ambit.api.names import GROUP
from ambit.control import keys
from ambit.kube import KubeClient, KubeConfig
from ambit.kube import resources as kinds
from ambit.ledger import wire
from ambit.ledger.client import LedgerClient
from e2e.cluster.progress import Progress
from e2e.cluster.upstream import build, catalogue
from tests.gateway.harness import DAY_MS, a_token
from tests.ledger import server as ledger_server
from tests.model_server.server import ModelServer
from tests.model_server.server import running as model_server

ROOT = Path(__file__).parents[2]
GATEWAY, READER = "ambit-gateway", "ambit-credential-reader"
Json = dict[str, Any]
_RBAC = {
    kind.kind: kind
    for kind in (
        kinds.SERVICE_ACCOUNTS,
        kinds.ROLES,
        kinds.ROLE_BINDINGS,
        kinds.CLUSTER_ROLES,
        kinds.CLUSTER_ROLE_BINDINGS,
    )
}


@dataclass
class Installed:
    """What a test sees."""

    kube: KubeClient
    """As the administrator."""
    namespace: str
    """Holds everything: control plane, routes, agents."""
    ledger: LedgerClient
    models: ModelServer
    process: asyncio.subprocess.Process
    sandbox_url: str
    isolate_url: str
    health_url: str
    signer: Ed25519PrivateKey
    reader: str
    """The name of this installation's ClusterRole that lets a namespace's Secrets be read."""

    async def open(self, name: str, **attributes: str) -> str:
        """A session of the Agent `researcher`; its token."""
        path, agent = f"session/{self.namespace}/{name}", f"agent/{self.namespace}/researcher"
        named = {"agent": f"{self.namespace}/researcher", **attributes}
        opened = await self.ledger.open(wire.Open(path, agent, DAY_MS, (), named))
        assert isinstance(opened, wire.Opened)
        return a_token(path, key=self.signer)

    async def put(self, kind: kinds.Resource, name: str, **fields: Any) -> None:
        """Creates or replaces one object."""
        manifest = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": name}, **fields}
        await self.kube.apply(kind, manifest, self.namespace, field_manager="ambit-tests")

    async def stop(self) -> int:
        """Ends the gateway as Kubernetes would; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), 30)


@asynccontextmanager
async def installed(folder: Path) -> AsyncGenerator[Installed]:
    """A gateway in a namespace of its own in the cluster of KUBECONFIG."""
    namespace = f"gateway-{uuid.uuid4().hex[:8]}"
    (folder / "ledger").mkdir()
    async with AsyncExitStack() as stack:
        kube = await stack.enter_async_context(KubeClient(KubeConfig.load(os.environ)))
        await _install_crds(kube)
        await kube.create(kinds.NAMESPACES, {"metadata": {"name": namespace}})
        stack.push_async_callback(kube.delete, kinds.NAMESPACES, namespace)
        await stack.enter_async_context(_rights(kube, namespace))
        ledgers = await stack.enter_async_context(ledger_server.running(folder / "ledger"))
        ledger = await stack.enter_async_context(ledgers.client())
        async with ledgers.client("operator") as operator:
            await operator.put_account(wire.PutAccount(f"budget/{namespace}/default"))
            await operator.put_account(
                wire.PutAccount(f"agent/{namespace}/researcher", (), f"budget/{namespace}/default")
            )
        models = await stack.enter_async_context(model_server())
        environ = await _environ(kube, namespace, folder, ledgers.url)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.gateway.main_process"),
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
            stdout=asyncio.subprocess.PIPE,
            stderr=(folder / "gateway.log").open("ab"),
        )
        stack.push_async_callback(_end, process)
        assert process.stdout is not None
        line = await process.stdout.readline()
        assert line, (folder / "gateway.log").read_text()
        said = json.loads(line)
        yield Installed(
            kube=kube,
            namespace=namespace,
            ledger=ledger,
            models=models,
            process=process,
            sandbox_url=f"http://{said['sandboxes']}",
            isolate_url=f"http://{said['isolates']}",
            health_url=f"http://{said['health']}",
            signer=keys.load_signer(
                keys.SESSION_SIGNER, {"private.pem": (folder / keys.SESSION_SIGNER / "private.pem").read_bytes()}
            ),
            reader=f"{READER}-{namespace}",
        )


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
        await process.wait()


async def _install_crds(kube: KubeClient) -> None:
    for path in sorted((ROOT / "crds").glob("*.yaml")):
        await kube.apply(
            kinds.CUSTOM_RESOURCE_DEFINITIONS, yaml.safe_load(path.read_text()), field_manager="ambit-tests"
        )
    async with asyncio.timeout(30):
        while True:
            found = await kube.list(kinds.CUSTOM_RESOURCE_DEFINITIONS)
            ours = [crd for crd in found if crd["spec"]["group"] == GROUP]
            if len(ours) >= 5 and all(_established(crd) for crd in ours):
                return
            await asyncio.sleep(0.1)


def _established(crd: Json) -> bool:
    status: Json = crd.get("status") or {}
    conditions: list[Json] = status.get("conditions") or []
    return any(one["type"] == "Established" and one["status"] == "True" for one in conditions)


@asynccontextmanager
async def _rights(kube: KubeClient, namespace: str) -> AsyncGenerator[None]:
    """What the chart gives the gateway; cluster-wide names carry the namespace: others may be installed beside it."""
    made: list[tuple[kinds.Resource, str, str | None]] = []
    try:
        for manifest in await asyncio.to_thread(_rendered, namespace):
            kind = _RBAC.get(manifest["kind"])
            metadata: Json = manifest["metadata"]
            if kind is None or not metadata["name"].startswith((GATEWAY, READER)):
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


def _rendered(namespace: str) -> list[Json]:
    helm = build.ensure([catalogue.HELM], Progress())["helm"]
    command = [str(helm), "template", "ambit", str(ROOT / "charts" / "ambit"), "--namespace", namespace]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


async def _environ(kube: KubeClient, namespace: str, folder: Path, ledger_url: str) -> dict[str, str]:
    """Keys as the operator makes them, a kubeconfig with the gateway's own token, and the settings that name both."""
    for write in keys.missing(keys.KeyState({}, None), datetime.now(UTC), keys.gateway_names(namespace)):
        target = folder / (write.name if isinstance(write, keys.WriteSecret) else "trust")
        target.mkdir()
        for name, content in write.data.items():
            (target / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    request: Json = {"spec": {"expirationSeconds": 3600}}
    answer = await kube.create(kinds.SERVICE_ACCOUNTS, request, namespace, name=GATEWAY, subresource="token")
    _write_kubeconfig(folder / "kubeconfig", answer["status"]["token"])
    (folder / "ledger-token").write_text("user-gateway\n")
    return {
        "KUBECONFIG": str(folder / "kubeconfig"),
        "AMBIT_NAMESPACE": namespace,
        "AMBIT_LEDGER_URL": ledger_url,
        "AMBIT_LEDGER_TOKEN_FILE": str(folder / "ledger-token"),
        "AMBIT_TRUST": str(folder / "trust"),
        "AMBIT_GATEWAY_SIGNER": str(folder / keys.GATEWAY_SIGNER),
        "AMBIT_GATEWAY_TLS": str(folder / keys.GATEWAY_TLS),
        "AMBIT_POD_NAME": "gateway-under-test",
        "AMBIT_SANDBOX_LISTEN": "127.0.0.1:0",
        "AMBIT_ISOLATE_LISTEN": "127.0.0.1:0",
        "AMBIT_PEOPLE_LISTEN": "127.0.0.1:0",
        "AMBIT_HEALTH_LISTEN": "127.0.0.1:0",
        "AMBIT_DRAIN_MS": "1000",
    }


def _write_kubeconfig(to: Path, token: str) -> None:
    config: Json = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())
    config["users"][0]["user"] = {"token": token}
    to.write_text(json.dumps(config))
