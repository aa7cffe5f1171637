"""What comes before a release is uninstalled: every session is ended, and no finalizer stays.

It runs as a hook of the chart while the control plane still stands. Each step may be run again: a hook that was killed
half-way is started anew.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from ambit.api.names import (
    COMPONENT_LABEL,
    ISOLATE_HOST_COMPONENT,
    OPERATOR,
    SANDBOX_COMPONENT,
    SESSION_FINALIZER,
    budget_path,
)
from ambit.control.reconcilers.sandbox.runtime import STOP_GRACE_S
from ambit.kube.client import KubeClient
from ambit.kube.errors import NotFound
from ambit.kube.resources import BUDGETS, DEPLOYMENTS, PODS, SANDBOXES, STATEFUL_SETS
from ambit.ledger.client import AccountUnknown, LedgerClient, LedgerUnavailable
from ambit.ledger.wire import Kill

ENDED_WITHIN_S = 60
STOPPED_WITHIN_S = 60
POLL_S = 0.5
_LOG = logging.getLogger(__name__)


async def drain(
    kube: KubeClient, ledger: LedgerClient, namespace: str, *, ended_within_s: float = ENDED_WITHIN_S
) -> None:
    """Ends every session; then stops the operator in `namespace` for good, and takes off what it would have.

    A ledger that is away delays nothing: the pods are deleted all the same, and its holds expire.
    """
    await _kill_sessions(kube, ledger)
    await _wait("every sandbox's pod is gone", ended_within_s, lambda: _none_left(kube, SANDBOX_COMPONENT))
    await kube.patch(DEPLOYMENTS, OPERATOR, {"spec": {"replicas": 0}}, namespace, subresource="scale")
    await _wait("the operator has stopped", STOPPED_WITHIN_S, lambda: _stopped(kube, namespace))
    await _delete_left_over(kube)
    await _wait("every pod that was left over is gone", STOPPED_WITHIN_S, lambda: _nothing_left(kube))


async def _kill_sessions(kube: KubeClient, ledger: LedgerClient) -> None:
    for budget in await kube.list(BUDGETS):
        path = budget_path(budget["metadata"]["namespace"], budget["metadata"]["name"])
        try:
            killed = await ledger.kill(Kill(path=path, reason="Ambit is uninstalled", by="ambit drain"))
        except AccountUnknown:
            continue  # the Budget never reached the ledger, so nothing runs on it
        except LedgerUnavailable as away:
            _LOG.warning("sessions are ended by deleting their pods alone: %s", away)
            return
        _LOG.info("killed", extra={"fields": {"account": path, "sessions": len(killed.sessions)}})


async def _delete_left_over(kube: KubeClient) -> None:
    for pod in await kube.list(PODS, label_selector=f"{COMPONENT_LABEL}={SANDBOX_COMPONENT}"):
        await _unless_gone(
            kube.delete(PODS, pod["metadata"]["name"], pod["metadata"]["namespace"], grace_period_s=STOP_GRACE_S)
        )
    for hosts in await kube.list(STATEFUL_SETS, label_selector=f"{COMPONENT_LABEL}={ISOLATE_HOST_COMPONENT}"):
        await _unless_gone(kube.delete(STATEFUL_SETS, hosts["metadata"]["name"], hosts["metadata"]["namespace"]))
    for sandbox in await kube.list(SANDBOXES):
        metadata = sandbox["metadata"]
        others = [name for name in metadata.get("finalizers", []) if name != SESSION_FINALIZER]
        if others != metadata.get("finalizers", []):
            patch = {"metadata": {"finalizers": others, "resourceVersion": metadata["resourceVersion"]}}
            await _unless_gone(kube.patch(SANDBOXES, metadata["name"], patch, metadata["namespace"]))


async def _unless_gone(request: Awaitable[object]) -> None:
    with suppress(NotFound):
        await request


async def _nothing_left(kube: KubeClient) -> bool:
    return await _none_left(kube, SANDBOX_COMPONENT) and await _none_left(kube, ISOLATE_HOST_COMPONENT)


async def _none_left(kube: KubeClient, component: str) -> bool:
    """Whether no pod of that component runs any more; finished ones may still lie there."""
    pods = await kube.list(PODS, label_selector=f"{COMPONENT_LABEL}={component}")
    return all(pod.get("status", {}).get("phase") in ("Succeeded", "Failed") for pod in pods)


async def _stopped(kube: KubeClient, namespace: str) -> bool:
    deployment = await kube.get(DEPLOYMENTS, OPERATOR, namespace)
    return not deployment.get("status", {}).get("replicas")


async def _wait(what: str, within_s: float, condition: Callable[[], Awaitable[bool]]) -> None:
    """Waits until the condition holds; after `within_s` goes on all the same, and says so: uninstalling must end."""
    for _ in range(int(within_s / POLL_S)):
        if await condition():
            return
        await asyncio.sleep(POLL_S)
    _LOG.warning("not within %d s: %s; going on", within_s, what)
