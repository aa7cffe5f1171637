"""What a cluster's name decides: addresses, links, folders, cgroups. Values only; nothing here touches the machine."""

import hashlib
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

STATE_ROOT = Path("/var/lib/ambit")
BRIDGE_ALIAS = "ambit cluster "
SLOTS = 250
# 198.18.0.0/15 is set aside for benchmarks (RFC 2544): no machine's own network uses it.
_NODES = IPv4Network("198.18.0.0/16")
_PODS = IPv4Network("198.19.0.0/16")
# Service addresses mean something inside a node only, so every cluster may use the same.
SERVICES = IPv4Network("10.96.0.0/16")
API_SERVICE = SERVICES[1]
DNS_SERVICE = SERVICES[10]
_LINK_NAME_LIMIT = 15


@dataclass(frozen=True)
class Node:
    """A node of the cluster, in a network namespace of the same name, reached at `address`."""

    name: str
    address: IPv4Address
    pods: IPv4Network
    host_link: str
    folder: Path
    run: Path
    cgroup: str

    @property
    def containerd_socket(self) -> Path:
        return self.run / "containerd.sock"

    @property
    def cni_config(self) -> Path:
        return self.folder / "cni"

    @property
    def network_namespace(self) -> Path:
        return Path("/run/netns") / self.name


@dataclass(frozen=True)
class Layout:
    """A cluster's place on the machine. `slot` picks its subnets, so that clusters stand side by side."""

    name: str
    slot: int

    @property
    def bridge(self) -> str:
        plain = f"br-{self.name}"
        if len(plain) <= _LINK_NAME_LIMIT:
            return plain
        return f"br-{self.name[:5]}-{_digest(self.name)[:6]}"

    @property
    def bridge_alias(self) -> str:
        """Marks the bridge as ours: only a link that carries it is ever removed."""
        return f"{BRIDGE_ALIAS}{self.name}"

    @property
    def subnet(self) -> IPv4Network:
        return IPv4Network((int(_NODES[0]) + self.slot * 256, 24))

    @property
    def pods(self) -> IPv4Network:
        return IPv4Network((int(_PODS[0]) + self.slot * 256, 24))

    @property
    def host(self) -> IPv4Address:
        """The machine on the cluster's bridge: where the control plane listens."""
        return self.subnet[1]

    @property
    def api_url(self) -> str:
        return f"https://{self.host}:6443"

    @property
    def etcd_url(self) -> str:
        return f"https://{self.host}:2379"

    @property
    def state(self) -> Path:
        return STATE_ROOT / self.name

    @property
    def binaries(self) -> Path:
        return self.state / "bin"

    @property
    def certificates(self) -> Path:
        return self.state / "pki"

    @property
    def kubeconfigs(self) -> Path:
        return self.state / "kubeconfig"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def admin_kubeconfig(self) -> Path:
        return self.kubeconfigs / "admin"

    @property
    def supervisor_socket(self) -> Path:
        return self.state / "supervisor.sock"

    @property
    def cgroup(self) -> str:
        """Relative to each cgroup hierarchy's root."""
        return f"ambit-{self.name}"

    def node(self, number: int) -> Node:
        """The node `number`, counted from 1."""
        name = f"node-{number}"
        return Node(
            name=name,
            address=self.subnet[10 + number],
            pods=list(self.pods.subnets(prefixlen_diff=1))[number - 1],
            host_link=f"ambit{self.slot}n{number}",
            folder=self.state / name,
            run=Path("/run/ambit") / name,
            cgroup=f"{self.cgroup}/{name}",
        )


def preferred_slots(name: str) -> list[int]:
    """All slots, beginning with the one that the name itself picks."""
    first = int(_digest(name), 16) % SLOTS
    return [(first + step) % SLOTS for step in range(SLOTS)]


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
