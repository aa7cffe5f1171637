"""The operator against a real apiserver and a real ledger; the kubelet is played by the test (see `rig`)."""

import pytest

from ambit.kube import resources as kinds
from ambit.ledger import wire
from tests.control.rig import Rig, stamp

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


async def test_a_budget_and_an_agent_become_accounts_and_are_ready(rig: Rig) -> None:
    await rig.a_budget("organisation", limits=[{"window": "Lifetime", "usd": "100"}])
    await rig.a_budget("default", parentRef={"name": "organisation"}, limits=[{"window": "Day", "usd": "10"}])
    await rig.an_agent()
    usage = await rig.ledger.usage(wire.GetUsage(f"agent/{rig.namespace}/coder"))
    assert usage.parent == f"budget/{rig.namespace}/default"
    await rig.until_reason(kinds.BUDGETS, "default", "Ready")
    usage = await rig.ledger.usage(wire.GetUsage(f"budget/{rig.namespace}/default"))
    assert usage.parent == f"budget/{rig.namespace}/organisation"


async def test_a_sandbox_runs_and_ends(rig: Rig) -> None:
    await rig.a_budget()
    await rig.an_agent()
    pod = await rig.a_sandbox("one", agentRef={"name": "coder"})
    started = stamp()
    await rig.kubelet.run(pod, started)
    await rig.until_reason(kinds.SANDBOXES, "one", "Running")
    await rig.kubelet.exits(pod, 0, started)
    done = await rig.until_reason(kinds.SANDBOXES, "one", "Completed")
    assert done["status"]["exitCode"] == 0
    await rig.client.delete(kinds.SANDBOXES, "one", rig.namespace)
    await rig.until_gone(kinds.SANDBOXES, "one")
