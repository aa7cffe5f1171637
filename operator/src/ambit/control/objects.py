"""Kubernetes' own objects as the operator reads them: slim values, decoded once (2 KiB a Pod instead of 43)."""

from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec


class _Slim(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Unknown fields are ignored: they are most of the object."""


class Owner(_Slim, frozen=True):
    kind: str
    name: str
    uid: str
    controller: bool = False


class Meta(_Slim, frozen=True):
    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_references: tuple[Owner, ...] = ()

    def owned_by(self, uid: str) -> bool:
        return any(owner.uid == uid for owner in self.owner_references)


class Waiting(_Slim, frozen=True):
    reason: str = ""
    message: str = ""


class Running(_Slim, frozen=True):
    started_at: str | None = None


class Terminated(_Slim, frozen=True):
    exit_code: int
    reason: str = ""
    message: str = ""
    started_at: str | None = None
    finished_at: str | None = None


class ContainerState(_Slim, frozen=True):
    waiting: Waiting | None = None
    running: Running | None = None
    terminated: Terminated | None = None


class ContainerStatus(_Slim, frozen=True):
    name: str
    state: ContainerState = ContainerState()
    ready: bool = False


class PodCondition(_Slim, frozen=True):
    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_transition_time: str | None = None


class PodStatus(_Slim, frozen=True):
    phase: str = "Pending"
    reason: str = ""
    message: str = ""
    start_time: str | None = None
    conditions: tuple[PodCondition, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()

    def condition(self, name: str) -> PodCondition | None:
        return next((c for c in self.conditions if c.type == name), None)


class PodSpec(_Slim, frozen=True):
    node_name: str = ""


class Pod(_Slim, frozen=True):
    metadata: Meta
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    def container(self, name: str) -> ContainerState:
        """The state of one container; empty before the kubelet has said anything of it."""
        return next((c.state for c in self.status.container_statuses if c.name == name), ContainerState())


class Named(_Slim, frozen=True):
    """An object of which only name, labels and owners matter: Namespace, RuntimeClass, NetworkPolicy."""

    metadata: Meta


class ServiceSpec(_Slim, frozen=True):
    cluster_ip: str = msgspec.field(name="clusterIP", default="")


class Service(_Slim, frozen=True):
    metadata: Meta
    spec: ServiceSpec = ServiceSpec()


ConfigMapSizes = Mapping[str, int]
"""The size in bytes of each key of a ConfigMap's data; what stands there is the gateway's to read, not ours to keep."""


class _ConfigMap(_Slim, frozen=True):
    data: dict[str, str] = {}


def decode_sizes(raw: bytes) -> ConfigMapSizes:
    """A ConfigMap's JSON → the sizes of its values, in UTF-8."""
    return {key: len(value.encode()) for key, value in _decode_config_map(raw).data.items()}


class StatefulSetSpec(_Slim, frozen=True):
    replicas: int = 1


class StatefulSetStatus(_Slim, frozen=True):
    replicas: int = 0
    ready_replicas: int = 0
    observed_generation: int = 0
    updated_replicas: int = 0


class StatefulSet(_Slim, frozen=True):
    metadata: Meta
    spec: StatefulSetSpec = StatefulSetSpec()
    status: StatefulSetStatus = StatefulSetStatus()


def instant_ms(timestamp: str) -> int:
    """An RFC 3339 instant of the apiserver → milliseconds since the epoch."""
    return int(datetime.fromisoformat(timestamp.replace("Z", "+00:00")).astimezone(UTC).timestamp() * 1000)


_decode_config_map = msgspec.json.Decoder(_ConfigMap).decode
