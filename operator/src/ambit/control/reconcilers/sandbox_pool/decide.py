"""What a pool needs, and its status. Pure."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ambit.api import names
from ambit.api.conditions import ConditionStatus, ConditionType, with_condition
from ambit.api.sandbox_pool import HostStatus, SandboxPool, SandboxPoolStatus
from ambit.control.objects import Pod, StatefulSet
from ambit.control.obstacles import Obstacle, obstacle_of
from ambit.control.reconcilers.sandbox_pool import manifests
from ambit.control.reconcilers.sandbox_pool.manifests import Cluster
from ambit.telemetry.reasons import Progress

TRUE, FALSE = ConditionStatus.TRUE, ConditionStatus.FALSE
Json = dict[str, Any]


@dataclass(frozen=True)
class Snapshot:
    """Everything that a pool is decided from."""

    pool: SandboxPool
    cluster: Cluster | None
    """None: the gateway has no address or key yet."""
    stateful_set: StatefulSet | None
    """The one that is the pool's own."""
    has_policy: bool
    pods: tuple[Pod, ...]
    refused: Obstacle | None
    """What the apiserver said to a write, or to the StatefulSet when it wanted to make a Pod."""


@dataclass(frozen=True)
class Wanted:
    """What to write, in this order; None: nothing."""

    policy: Json | None
    create: Json | None
    replace: Json | None


def wanted(s: Snapshot) -> Wanted:
    """NetworkPolicy first, so that no host ever runs without it."""
    if s.cluster is None:
        return Wanted(None, None, None)
    policy = None if s.has_policy else manifests.network_policy(s.pool, s.cluster)
    manifest = manifests.stateful_set(s.pool, s.cluster)
    if s.stateful_set is None:
        return Wanted(policy, create=manifest, replace=None)
    same = s.stateful_set.metadata.annotations.get(manifests.HASH_ANNOTATION) == manifests.manifest_hash(manifest)
    scaled = s.stateful_set.spec.replicas == s.pool.spec.isolate.hosts.min
    if same and scaled:
        return Wanted(policy, None, None)
    manifest["metadata"]["resourceVersion"] = s.stateful_set.metadata.resource_version
    return Wanted(policy, create=None, replace=manifest)


def pods_are_missing(s: Snapshot) -> bool:
    """The StatefulSet has fewer Pods than it should: its Events say why."""
    return s.stateful_set is not None and len(s.pods) < s.pool.spec.isolate.hosts.min


def status_of(s: Snapshot, now: datetime) -> SandboxPoolStatus:
    """The status, written `now`."""
    before, generation = s.pool.status, s.pool.metadata.generation
    desired = s.pool.spec.isolate.hosts.min
    ready = s.stateful_set.status.ready_replicas if s.stateful_set is not None else 0
    said = (TRUE, Progress.READY.value, "")
    if ready < desired:
        obstacle = _obstacle(s) or Obstacle(Progress.HOSTS_NOT_READY, f"{ready} of {desired} hosts are ready")
        said = (FALSE, obstacle.reason.value, obstacle.message)
    conditions = with_condition(
        before.conditions, ConditionType.ACCEPTED, TRUE, Progress.ACCEPTED.value, "", generation=generation, now=now
    )
    conditions = with_condition(conditions, ConditionType.READY, *said, generation=generation, now=now)
    hosts = HostStatus(desired=desired, ready=ready)
    return before.model_copy(update={"observed_generation": generation, "conditions": conditions, "hosts": hosts})


def _obstacle(s: Snapshot) -> Obstacle | None:
    if s.cluster is None:
        return Obstacle(Progress.CREATING, f"Service {names.GATEWAY} has no cluster IP yet")
    if s.refused is not None:
        return s.refused
    for pod in s.pods:
        obstacle = obstacle_of(pod, manifests.CONTAINER, s.cluster.image)
        if obstacle is not None:
            return obstacle
    return None
