"""A pod watch that shows nothing: the reconciler over a real apiserver and ledger, its cache of Pods never fed."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from time import time

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ambit.control.events import Recorder
from ambit.control.reconcilers.sandbox.executor import Executor
from ambit.control.reconcilers.sandbox.memory import ASSUMED_MS
from ambit.control.reconcilers.sandbox.reconciler import SandboxReconciler
from ambit.control.world import World
from ambit.control.writer import Writer
from ambit.kube import resources as kinds
from ambit.ledger.wire import GetUsage
from tests.control.rig import Json, Rig, ready_reason, stamp

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400), pytest.mark.asyncio(loop_scope="module")]


@dataclass
class Silent:
    """One reconciler, of a process that has just started; each `look` is one pass, so much later."""

    rig: Rig
    later_ms: int = 0
    world: World = field(init=False)
    reconciler: SandboxReconciler = field(init=False)

    def __post_init__(self) -> None:
        self.world = World(self.rig.client, self.rig.control_namespace)
        writer = Writer(self.rig.client, Recorder(self.rig.client, "silent"))
        key = Ed25519PrivateKey.generate()
        executor = Executor(self.world, self.rig.client, self.rig.ledger, writer, lambda: key, self._now_ms)
        self.reconciler = SandboxReconciler(self.world, executor, writer, 300_000, self._now_ms)

    def _now_ms(self) -> int:
        return int(time() * 1000) + self.later_ms

    async def look(self, *, later_ms: int = 0) -> Json:
        self.later_ms += later_ms
        for kind in self.world.kinds:
            objects = await self.rig.client.list(kind.resource, self.rig.namespace)
            kind.store.relisted(objects, str(max((int(o["metadata"]["resourceVersion"]) for o in objects), default=0)))
        await self.reconciler.reconcile((self.rig.namespace, "run"))
        return await self.rig.client.get(kinds.SANDBOXES, "run", self.rig.namespace)


@pytest_asyncio.fixture(loop_scope="module")
async def started(rig: Rig) -> AsyncIterator[tuple[Silent, str, str]]:
    """A Sandbox whose container runs while no watch has said so; its Pod, and when it started."""
    await rig.a_budget()
    await rig.an_agent()
    pod = await rig.a_sandbox("run", agentRef={"name": "coder"})
    await rig.operator.kill()
    at = stamp()
    await rig.kubelet.run(pod, at)
    yield Silent(rig), pod, at


async def test_a_pod_that_is_not_shown_is_neither_lost_nor_unmetered(started: tuple[Silent, str, str]) -> None:
    silent, pod, _ = started
    for _ in range(3):
        assert ready_reason(await silent.look(later_ms=ASSUMED_MS)) == "Running"
    [hold] = (await silent.rig.ledger.usage(GetUsage(f"session/{silent.rig.namespace}/{pod}"))).holds
    assert hold.amount.runtime_ms == 60_000, "after thirty seconds it was renewed"


async def test_a_pod_that_is_gone_is_lost_and_its_runtime_charged(started: tuple[Silent, str, str]) -> None:
    silent, pod, at = started
    await silent.look()
    await silent.rig.kubelet.takes_away(pod, at)
    await silent.rig.until_gone(kinds.PODS, pod)
    lost = await silent.look(later_ms=ASSUMED_MS)
    assert ready_reason(lost) == "HostLost"
    usage = await silent.rig.ledger.usage(GetUsage(f"session/{silent.rig.namespace}/{pod}"))
    assert usage.spent.runtime_ms >= ASSUMED_MS
    assert "finalizers" not in (await silent.look())["metadata"]


async def test_a_finished_sandbox_keeps_its_finalizer_until_a_pod_left_running_is_gone(
    started: tuple[Silent, str, str],
) -> None:
    """As an operator left it that took the Pod to be gone."""
    silent, pod, at = started
    condition = {"type": "Finished", "status": "True", "reason": "HostLost", "message": "", "lastTransitionTime": at}
    finished = {"status": {"conditions": [condition]}}
    await silent.rig.client.patch(kinds.SANDBOXES, "run", finished, silent.rig.namespace, subresource="status")
    assert (await silent.look())["metadata"]["finalizers"]
    stopping = await silent.rig.client.get(kinds.PODS, pod, silent.rig.namespace)
    assert stopping["metadata"]["deletionGracePeriodSeconds"] == 1
    assert (await silent.look(later_ms=ASSUMED_MS))["metadata"]["finalizers"]
    await silent.rig.kubelet.takes_away(pod, at)
    assert "finalizers" not in (await silent.look(later_ms=ASSUMED_MS))["metadata"]
