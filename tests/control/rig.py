"""A real apiserver, a real ledger process and a real operator process; the kubelet is played by the test.

The cluster of KUBECONFIG needs no node: `Kubelet` binds Pods to a Node object that nobody runs, writes the status that
a kubelet would write, and takes a Pod away when it is to be deleted. What a real node does is tested at tests/cluster.
"""

import asyncio
import os
import signal
import sys
import time
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ambit.api.names import OPERATOR
from ambit.kube import Conflict, KubeClient, KubeConfig, NotFound
from ambit.kube import resources as kinds
from ambit.ledger.client import LedgerClient
from tests.api.apiserver import connected
from tests.chart.rights import installed_rights, write_kubeconfig
from tests.ledger import server as ledgers

PROGRAM = Path(__file__).with_name("operator_process.py")
HOST_IMAGE = "ambit.dev/isolate-host:test"
Json = dict[str, Any]


def stamp() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Operator:
    """One operator process after another, over the same cluster and ledger."""

    environ: dict[str, str]
    log: Path
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, str(PROGRAM), env={**os.environ, **self.environ}, stderr=self.log.open("ab")
        )

    async def kill(self) -> None:
        """Ends it as a crash would."""
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
            await self.process.wait()

    async def stop(self) -> int:
        """Ends it as Kubernetes would; its exit status."""
        if self.process is None:
            raise AssertionError("it was never started")
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), 60)


@dataclass
class Kubelet:
    """What a kubelet would write of Pods, and when they are to go."""

    client: KubeClient
    namespace: str
    node: str

    async def bind(self, pod: str) -> None:
        body = {"metadata": {"name": pod}, "target": {"apiVersion": "v1", "kind": "Node", "name": self.node}}
        await self.client.create(kinds.PODS, body, self.namespace, name=pod, subresource="binding")

    async def run(self, pod: str, started_at: str | None = None, *, container: str = "sandbox") -> None:
        """The container has started."""
        state = {"running": {"startedAt": started_at or stamp()}}
        await self._status(pod, "Running", state, ready=True, container=container)

    async def waits(self, pod: str, reason: str, message: str) -> None:
        await self._status(pod, "Pending", {"waiting": {"reason": reason, "message": message}})

    async def exits(self, pod: str, code: int, started_at: str, finished_at: str | None = None) -> None:
        ended = {"exitCode": code, "reason": "Completed" if code == 0 else "Error", "startedAt": started_at}
        state = {"terminated": ended | {"finishedAt": finished_at or stamp()}}
        await self._status(pod, "Succeeded" if code == 0 else "Failed", state)

    async def takes_away(self, pod: str, started_at: str | None = None) -> None:
        """A Pod that is being deleted has stopped: its last status, then the object goes."""
        if started_at is not None:
            await self.exits(pod, 137, started_at)
        await self.client.delete(kinds.PODS, pod, self.namespace, grace_period_s=0)

    async def _status(
        self, pod: str, phase: str, state: Json, *, ready: bool = False, container: str = "sandbox"
    ) -> None:
        ready_status = "True" if ready else "False"
        status = {
            "phase": phase,
            "startTime": stamp(),
            "conditions": [
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": stamp()},
                {"type": "ContainersReady", "status": ready_status, "lastTransitionTime": stamp()},
                {"type": "Ready", "status": ready_status, "lastTransitionTime": stamp()},
            ],
            "containerStatuses": [
                {
                    "name": container,
                    "image": "x",
                    "imageID": "",
                    "ready": ready,
                    "restartCount": 0,
                    "state": state,
                }
            ],
        }
        await self.client.patch(kinds.PODS, pod, {"status": status}, self.namespace, subresource="status")


@dataclass
class Rig:
    """Everything that a test needs, for one namespace of its own."""

    client: KubeClient
    ledger: LedgerClient
    ledger_server: ledgers.Server
    ledger_folder: Path
    operator: Operator
    control_namespace: str
    namespace: str
    kubelet: Kubelet

    async def revive(self) -> None:
        """Starts what a test has killed."""
        if self.ledger_server.process.returncode is not None:
            await self.restart_ledger()
        if self.operator.process is None or self.operator.process.returncode is not None:
            await self.operator.start()

    async def create(self, kind: kinds.Resource, name: str, spec: Json, **more: Any) -> Json:
        body = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": name}, "spec": spec, **more}
        return await self.client.create(kind, body, self.namespace)

    async def get(self, kind: kinds.Resource, name: str) -> Json | None:
        try:
            return await self.client.get(kind, name, self.namespace)
        except NotFound:
            return None

    async def condition(self, kind: kinds.Resource, name: str, condition: str = "Ready") -> Json:
        """The condition as it is now; with empty fields where there is none."""
        obj = await self.get(kind, name)
        conditions = (obj or {}).get("status", {}).get("conditions", [])
        none: Json = {"status": "", "reason": "", "message": ""}
        return next((c for c in conditions if c["type"] == condition), none)

    async def until(self, kind: kinds.Resource, name: str, test: Callable[[Json], bool], within_s: float = 90) -> Json:
        """The object once `test` holds of it (an empty one where it is not there)."""
        deadline = time.monotonic() + within_s
        while True:
            obj = await self.get(kind, name) or {}
            if test(obj):
                return obj
            if time.monotonic() > deadline:
                log = self.operator.log.read_text()[-4000:]
                raise AssertionError(f"not within {within_s} s: {kind.kind} {name}: {obj}\n{log}")
            await asyncio.sleep(0.05)

    async def until_reason(self, kind: kinds.Resource, name: str, reason: str, within_s: float = 90) -> Json:
        """The object once the reason of its Ready condition is this."""
        return await self.until(kind, name, lambda obj: ready_reason(obj) == reason, within_s)

    async def until_gone(self, kind: kinds.Resource, name: str, within_s: float = 90) -> None:
        await self.until(kind, name, lambda obj: not obj, within_s)

    async def a_budget(self, name: str = "default", **spec: Any) -> None:
        await self.create(kinds.BUDGETS, name, {"limits": [{"window": "Day", "usd": "10"}], **spec})

    async def an_agent(self, name: str = "coder", **spec: Any) -> None:
        container = {"environment": {"container": {"image": "registry.example/coder:1"}}}
        await self.create(kinds.AGENTS, name, {**container, **spec})
        await self.until_reason(kinds.AGENTS, name, "Ready")

    async def a_sandbox(self, name: str, **spec: Any) -> str:
        """A Sandbox with its Pod bound to the node; the answer is the Pod's name."""
        await self.create(kinds.SANDBOXES, name, spec)
        started = await self.until(kinds.SANDBOXES, name, lambda obj: "podName" in obj.get("status", {}))
        pod = started["status"]["podName"]
        await self.kubelet.bind(pod)
        return pod

    async def restart_ledger(self) -> None:
        """Starts the ledger again where it was."""
        again = await ledgers.start(self.ledger_folder, again=self.ledger_server)
        self.ledger_server.process = again.process

    async def forget(self, pod: str) -> None:
        """Takes a bound Pod away at the end of a test."""
        try:
            await self.client.delete(kinds.PODS, pod, self.namespace, grace_period_s=0)
        except (NotFound, Conflict):
            return


def ready_reason(obj: Json) -> str:
    conditions = obj.get("status", {}).get("conditions", [])
    return next((c["reason"] for c in conditions if c["type"] == "Ready"), "")


@asynccontextmanager
async def a_rig(folder: Path) -> AsyncGenerator[Rig]:
    """Ledger and operator over the apiserver of KUBECONFIG, until the block ends; then nothing of it is left."""
    with connected():  # the CRDs
        pass
    suffix = uuid.uuid4().hex[:8]
    control, node = f"control-{suffix}", f"node-{suffix}"
    token = folder / "token"
    token.write_text("user-operator")
    async with (
        ledgers.running(folder / "ledger") as server,
        KubeClient(KubeConfig.load(os.environ)) as client,
        server.client("operator") as ledger,
        AsyncExitStack() as stack,
    ):
        operator = Operator(
            {
                "AMBIT_NAMESPACE": control,
                "AMBIT_LEDGER_URL": server.url,
                "AMBIT_LEDGER_TOKEN_FILE": str(token),
                "AMBIT_ISOLATE_HOST_IMAGE": HOST_IMAGE,
                "AMBIT_HEALTH_LISTEN": "127.0.0.1:0",
            },
            folder / "operator.log",
        )
        await client.create(kinds.NAMESPACES, {"metadata": {"name": control}})
        await client.create(kinds.NODES, {"metadata": {"name": node}, "spec": {"unschedulable": True}})
        service = {"metadata": {"name": "ambit-gateway"}, "spec": {"ports": [{"port": 8080}]}}
        await client.create(kinds.SERVICES, service, control)
        kubelet = Kubelet(client, "", node)
        kubeconfig = folder / "kubeconfig"
        operator.environ["KUBECONFIG"] = str(kubeconfig)
        await stack.enter_async_context(installed_rights(client, control, OPERATOR))
        admin = Path(os.environ["KUBECONFIG"])
        await write_kubeconfig(client, control, OPERATOR, admin=admin, to=kubeconfig)
        try:
            yield Rig(client, ledger, server, folder / "ledger", operator, control, "", kubelet)
        finally:
            await operator.kill()
            await server.kill()
            await client.delete(kinds.NODES, node)
            await client.delete(kinds.NAMESPACES, control)


@asynccontextmanager
async def a_namespace(rig: Rig) -> AsyncGenerator[None]:
    """A namespace of a test's own; its Sandboxes end while an operator runs to take their finalizers off."""
    rig.namespace = rig.kubelet.namespace = f"work-{uuid.uuid4().hex[:8]}"
    await rig.revive()
    await rig.client.create(kinds.NAMESPACES, {"metadata": {"name": rig.namespace}})
    try:
        yield
    finally:
        await rig.revive()
        for sandbox in await rig.client.list(kinds.SANDBOXES, rig.namespace):
            await rig.client.delete(kinds.SANDBOXES, sandbox["metadata"]["name"], rig.namespace)
        await rig.client.delete(kinds.NAMESPACES, rig.namespace)
        async with asyncio.timeout(30):
            while any([await rig.client.list(kind, rig.namespace) for kind in (kinds.SANDBOXES, kinds.PODS)]):
                for pod in await rig.client.list(kinds.PODS, rig.namespace):
                    await rig.forget(pod["metadata"]["name"])
                await asyncio.sleep(0.1)
