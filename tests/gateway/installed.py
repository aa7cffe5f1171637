"""A gateway process as it is installed: the chart's rights and no others at a real apiserver, a real ledger process."""

import asyncio
import json
import os
import signal
import sys
import uuid
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ambit.api.names import GATEWAY
from ambit.control import keys
from ambit.kube import KubeClient, KubeConfig
from ambit.kube import resources as kinds
from ambit.ledger import wire
from ambit.ledger.client import LedgerClient
from tests.chart.crds import install_crds
from tests.chart.rights import installed_rights, write_kubeconfig
from tests.gateway.harness import DAY_MS, a_token
from tests.ledger import server as ledger_server
from tests.model_server.server import ModelServer
from tests.model_server.server import running as model_server

ROOT = Path(__file__).parents[2]
READER = "ambit-credential-reader"
Json = dict[str, Any]


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
async def installed(folder: Path, **settings: str) -> AsyncGenerator[Installed]:
    """A gateway in a namespace of its own in the cluster of KUBECONFIG; with these `AMBIT_*` variables, too."""
    namespace = f"gateway-{uuid.uuid4().hex[:8]}"
    (folder / "ledger").mkdir()
    async with AsyncExitStack() as stack:
        kube = await stack.enter_async_context(KubeClient(KubeConfig.load(os.environ)))
        await install_crds(kube)
        await kube.create(kinds.NAMESPACES, {"metadata": {"name": namespace}})
        stack.push_async_callback(kube.delete, kinds.NAMESPACES, namespace)
        await stack.enter_async_context(installed_rights(kube, namespace, GATEWAY, READER))
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
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), **environ, **settings},
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


async def _environ(kube: KubeClient, namespace: str, folder: Path, ledger_url: str) -> dict[str, str]:
    """Keys as the operator makes them, a kubeconfig with the gateway's own token, and the settings that name both."""
    for write in keys.missing(keys.KeyState({}, None), datetime.now(UTC), keys.gateway_names(namespace)):
        target = folder / (write.name if isinstance(write, keys.WriteSecret) else "trust")
        target.mkdir()
        for name, content in write.data.items():
            (target / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    admin = Path(os.environ["KUBECONFIG"])
    await write_kubeconfig(kube, namespace, GATEWAY, admin=admin, to=folder / "kubeconfig")
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
        "AMBIT_LAME_DUCK_MS": "1",
    }
