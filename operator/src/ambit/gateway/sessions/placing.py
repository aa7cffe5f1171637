"""In which order isolate hosts are asked for a place for a session."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b

import msgspec

from ambit.api.names import ISOLATE_HOST_PORT, POOL_LABEL


@dataclass(frozen=True)
class Host:
    """An isolate host that takes sessions."""

    namespace: str
    pool: str
    name: str
    uid: str
    """The pod's UID: what our tokens to it, and its own to us, are bound to."""
    address: str
    port: int = ISOLATE_HOST_PORT

    @property
    def url(self) -> str:
        """Where its supervisor listens."""
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"http://{address}:{self.port}"


def in_order(hosts: Iterable[Host], session: str, running: Mapping[str, int]) -> list[Host]:
    """The hosts to ask, the least busy first. `running`: how many sessions each is known to run, by its pod's UID.

    Among equals the session's id decides, so that gateways that know nothing of each other do not all ask the same one.
    """
    return sorted(hosts, key=lambda host: (running.get(host.uid, 0), _weight(session, host)))


def _weight(session: str, host: Host) -> bytes:
    return blake2b(f"{session}\n{host.uid}".encode(), digest_size=16).digest()


class _Condition(msgspec.Struct):
    type: str
    status: str


class _PodStatus(msgspec.Struct, rename="camel"):
    pod_ip: str = msgspec.field(name="podIP", default="")
    conditions: list[_Condition] = []


class _PodMetadata(msgspec.Struct, rename="camel"):
    name: str
    namespace: str
    uid: str
    labels: dict[str, str] = {}
    deletion_timestamp: str | None = None


class HostPod(msgspec.Struct):
    """An isolate host's Pod, as far as it matters here."""

    metadata: _PodMetadata
    status: _PodStatus = msgspec.field(default_factory=_PodStatus)

    def host(self) -> Host | None:
        """The host; None unless it takes sessions now."""
        ready = any(found.type == "Ready" and found.status == "True" for found in self.status.conditions)
        if not ready or self.metadata.deletion_timestamp is not None or not self.status.pod_ip:
            return None
        return self.as_host()

    def as_host(self) -> Host:
        """The host, whether it takes sessions or not."""
        return Host(
            namespace=self.metadata.namespace,
            pool=self.metadata.labels.get(POOL_LABEL, ""),
            name=self.metadata.name,
            uid=self.metadata.uid,
            address=self.status.pod_ip,
        )


decode_host_pod = msgspec.json.Decoder(HostPod).decode
