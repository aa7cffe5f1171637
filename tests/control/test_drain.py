"""What is left over when Ambit is uninstalled is stopped, not forgotten: against a real apiserver and ledger."""

import asyncio

import pytest

from ambit.control.drain import drain
from ambit.kube import resources as kinds
from tests.control.rig import Rig, stamp

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400), pytest.mark.asyncio(loop_scope="module")]


async def test_a_pod_that_the_operator_did_not_stop_is_given_its_grace_and_waited_for(rig: Rig) -> None:
    await rig.a_budget()
    await rig.an_agent()
    pod = await rig.a_sandbox("left", agentRef={"name": "coder"})
    started = stamp()
    await rig.kubelet.run(pod, started)
    await rig.operator.kill()
    labels = {"app": "operator"}
    container = {"name": "operator", "image": "registry.example/operator:1"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    deployment = {
        "metadata": {"name": "ambit-operator"},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template},
    }
    await rig.client.create(kinds.DEPLOYMENTS, deployment, rig.control_namespace)
    draining = asyncio.create_task(drain(rig.client, rig.ledger, rig.control_namespace, ended_within_s=1))
    stopping = await rig.until(kinds.PODS, pod, lambda obj: not obj or "deletionTimestamp" in obj["metadata"])
    assert stopping, "it was forgotten while it ran"
    assert stopping["metadata"]["deletionGracePeriodSeconds"] == 1
    await rig.until(kinds.SANDBOXES, "left", lambda obj: not obj["metadata"].get("finalizers"))
    assert not draining.done(), "it still stops"
    await rig.kubelet.takes_away(pod, started)
    await asyncio.wait_for(draining, 60)
