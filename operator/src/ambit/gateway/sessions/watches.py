"""What of the cluster sessions need besides Agents, Budgets and routes: pools, isolate hosts, Sandboxes, gateways."""

import asyncio
from collections.abc import Mapping
from typing import cast

import msgspec

from ambit.api.base import ObjectKey
from ambit.api.names import COMPONENT_LABEL, GATEWAY_COMPONENT, ISOLATE_HOST_COMPONENT
from ambit.gateway.sessions.authority import ClientAuthority
from ambit.gateway.sessions.placing import Host, decode_host_pod
from ambit.gateway.sessions.sandboxes import decode_sandbox
from ambit.kube import KubeClient, ListWatch
from ambit.kube.resources import PODS, SANDBOX_POOLS, SANDBOXES


class _Present(msgspec.Struct):
    """Only that it is there counts."""


class Watches:
    """Caches; `run` keeps them."""

    def __init__(self, kube: KubeClient, control_namespace: str) -> None:
        self._pools = ListWatch(kube, SANDBOX_POOLS, msgspec.json.Decoder(_Present).decode)
        self._host_pods = ListWatch(
            kube, PODS, decode_host_pod, label_selector=f"{COMPONENT_LABEL}={ISOLATE_HOST_COMPONENT}"
        )
        self._gateways = ListWatch(
            kube,
            PODS,
            msgspec.json.Decoder(_Present).decode,
            namespace=control_namespace,
            label_selector=f"{COMPONENT_LABEL}={GATEWAY_COMPONENT}",
        )
        self.sandboxes = ListWatch(kube, SANDBOXES, decode_sandbox)
        self.authority = ClientAuthority(kube)
        self._all = (self._pools, self._host_pods, self._gateways, self.sandboxes, self.authority.watch)

    async def run(self) -> None:
        """Keeps all caches until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for watch in self._all:
                tasks.create_task(watch.run())

    async def synced(self) -> None:
        """Waits until every cache has its first list."""
        for watch in self._all:
            await watch.synced.wait()

    def not_ready(self) -> str | None:
        """Which cache is still waited for; None: none."""
        missing = [watch.resource.plural for watch in self._all if not watch.synced.is_set()]
        return f"the first list of {', '.join(missing)}" if missing else None

    @property
    def pools(self) -> Mapping[ObjectKey, object]:
        """The SandboxPools."""
        return cast(Mapping[ObjectKey, object], self._pools.items)  # an ObjectKey equals the plain tuple

    def hosts_of(self, pool: ObjectKey) -> list[Host]:
        """The pool's hosts that take sessions now."""
        hosts = (pod.host() for pod in self._host_pods.items.values() if pod.metadata.namespace == pool.namespace)
        return [host for host in hosts if host is not None and host.pool == pool.name]

    def host(self, pod_uid: str) -> Host | None:
        """A host that is there, ready or not; None where its pod is gone, or never had an address."""
        for pod in self._host_pods.items.values():
            if pod.metadata.uid == pod_uid and pod.status.pod_ip:
                return pod.as_host()
        return None

    @property
    def gateways(self) -> set[str]:
        """The names of the gateway's pods."""
        return {name for _, name in self._gateways.items}
