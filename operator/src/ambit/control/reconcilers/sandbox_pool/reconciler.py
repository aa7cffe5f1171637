"""Keeps a pool's NetworkPolicy and StatefulSet as they should be."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from ambit.api import names
from ambit.api.sandbox_pool import SandboxPool
from ambit.control.objects import Named
from ambit.control.obstacles import Obstacle
from ambit.control.reconcilers.sandbox_pool import manifests
from ambit.control.reconcilers.sandbox_pool.decide import Snapshot, pods_are_missing, status_of, wanted
from ambit.control.world import World
from ambit.control.writer import Writer
from ambit.kube import AlreadyExists, Forbidden, Invalid, Key, KubeClient, resources
from ambit.telemetry.reasons import Progress

Json = dict[str, Any]
LOOK_AGAIN_S: Final = 5.0


class SandboxPoolReconciler:
    def __init__(
        self, world: World, client: KubeClient, writer: Writer, image: str, gateway_public_key: Callable[[], str | None]
    ) -> None:
        self._world = world
        self._client = client
        self._writer = writer
        self._image = image
        self._gateway_public_key = gateway_public_key
        self._kind = next(kind for kind in world.kinds if kind.store is world.pools)

    async def reconcile(self, key: Key) -> float | None:
        pool = self._world.pools.items.get(key)
        if pool is None or pool.metadata.deletion_timestamp is not None:
            return None  # everything of it is owned by it
        refused = await self._provide(self._snapshot(pool, None))
        snapshot = self._snapshot(pool, refused)
        if refused is None and pods_are_missing(snapshot):
            refused = await self._why_pods_are_missing(snapshot)
            snapshot = self._snapshot(pool, refused)
        pool = self._world.pools.items.get(key)
        if pool is None:
            return None
        status = status_of(snapshot, datetime.now(UTC))
        await self._writer.status(self._kind, pool, pool.status, status)
        done = status.hosts is not None and status.hosts.ready >= status.hosts.desired
        return None if done else LOOK_AGAIN_S

    def _snapshot(self, pool: SandboxPool, refused: Obstacle | None) -> Snapshot:
        name = (pool.metadata.namespace, manifests.name_of(pool))
        stateful_set, policy = self._world.stateful_sets.items.get(name), self._world.policies.items.get(name)
        owned = stateful_set is not None and stateful_set.metadata.owned_by(pool.metadata.uid)
        return Snapshot(
            pool=pool,
            cluster=self._cluster(),
            stateful_set=stateful_set if owned else None,
            has_policy=policy is not None and policy.metadata.owned_by(pool.metadata.uid),
            pods=tuple(
                pod
                for key, pod in self._world.pods.items.items()
                if key[0] == pool.metadata.namespace
                and pod.metadata.labels.get(names.POOL_LABEL) == pool.metadata.name
                and stateful_set is not None
                and pod.metadata.owned_by(stateful_set.metadata.uid)
            ),
            refused=refused,
        )

    def _cluster(self) -> manifests.Cluster | None:
        gateway_ip, public_key = self._world.gateway_ip, self._gateway_public_key()
        if gateway_ip is None or public_key is None:
            return None
        return manifests.Cluster(
            control_namespace=self._world.namespace,
            gateway_ip=gateway_ip,
            gateway_public_key=public_key,
            image=self._image,
            has_gvisor=self._world.has_gvisor,
        )

    async def _provide(self, s: Snapshot) -> Obstacle | None:
        want = wanted(s)
        if want.policy is not None:
            refused = await self._create(resources.NETWORK_POLICIES, want.policy, s.pool)
            if refused is not None:
                return refused
        if want.create is not None:
            return await self._create(resources.STATEFUL_SETS, want.create, s.pool)
        if want.replace is not None:
            await self._client.replace(
                resources.STATEFUL_SETS, want.replace["metadata"]["name"], want.replace, s.pool.metadata.namespace
            )
        return None

    async def _create(self, resource: resources.Resource, manifest: Json, pool: SandboxPool) -> Obstacle | None:
        name, namespace = manifest["metadata"]["name"], pool.metadata.namespace
        try:
            await self._client.create(resource, manifest, namespace)
        except AlreadyExists:
            there = await self._client.get(resource, name, namespace)
            if not msgspec.convert(there, Named).metadata.owned_by(pool.metadata.uid):
                message = f"{resource.kind} {name} is there and does not belong to this SandboxPool; delete it"
                return Obstacle(Progress.NAME_TAKEN, message)
        except (Forbidden, Invalid) as refused:
            return Obstacle(Progress.REFUSED, refused.message)
        return None

    async def _why_pods_are_missing(self, s: Snapshot) -> Obstacle | None:
        """The StatefulSet controller's own words: a refusal by quota, LimitRange or Pod Security is in its Events."""
        if s.stateful_set is None:
            return None
        events = await self._client.list(
            resources.EVENTS,
            s.pool.metadata.namespace,
            field_selector=f"regarding.uid={s.stateful_set.metadata.uid},reason=FailedCreate",
        )
        newest = max(events, key=_last_seen, default=None)
        return None if newest is None else Obstacle(Progress.REFUSED, str(newest.get("note") or ""))


def _last_seen(event: Json) -> str:
    series: Json = event.get("series") or {}
    return str(series.get("lastObservedTime") or event.get("deprecatedLastTimestamp") or event.get("eventTime") or "")
