"""One node: its network namespace, its files, its processes, in the order in which they must come."""

import urllib.error
import urllib.request
from pathlib import Path

from e2e.cluster import images
from e2e.cluster.commands import succeeds
from e2e.cluster.embedded import machine, node_config
from e2e.cluster.embedded.containerd import Containerd
from e2e.cluster.embedded.control_plane import kubectl
from e2e.cluster.embedded.layout import Layout, Node
from e2e.cluster.embedded.session import Session

CAP_SYS_RESOURCE = 24

# Run in the namespaces of the cluster; repeatable, in case it was interrupted. Without a default route nothing but the
# bridge is reachable, not even a Service's address, which is looked up before kube-proxy rewrites it. IPv6 is off:
# Felix, told that there is none, would let pods reach the kubelet by link-local addresses.
_NETWORK_SCRIPT = """
name=$1 link=$2 bridge=$3 address=$4 gateway=$5
[ -e "/run/netns/$name" ] || ip netns add "$name"
ip -n "$name" link show eth0 >/dev/null 2>&1 || ip link add "$link" type veth peer name eth0 netns "$name"
ip link set "$link" master "$bridge" up
nsenter --net="/run/netns/$name" -- sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1 \
    net.ipv4.ip_forward=1
ip -n "$name" address replace "$address" dev eth0
ip -n "$name" link set lo up
ip -n "$name" link set eth0 up
ip -n "$name" route replace default via "$gateway"
"""


def start(layout: Layout, session: Session, node: Node, sandbox_image: str, system_images: tuple[Path, ...]) -> None:
    """Brings the node to the point where its kubelet registers it. Calico's CRDs must be there."""
    _make_network(layout, session, node)
    machine.add_cgroup(node)
    machine.add_pod_route(layout, node)
    _write_files(layout, session, node, sandbox_image)
    session.start(
        f"containerd-{node.name}", [*node_config.in_network(node), "containerd", "-c", f"{node.folder}/containerd.toml"]
    )
    session.start(f"felix-{node.name}", node_config.felix_argv(node), node_config.felix_environment(layout, node))
    proxy = ("kube-proxy", f"--config={node.folder}/kube-proxy.json")
    session.start(f"kube-proxy-{node.name}", [*node_config.in_network(node), *proxy])
    containerd = Containerd(session, node)
    session.wait([f"containerd-{node.name}"], containerd.ready)
    for folder in system_images:
        containerd.load(images.read(folder))
    # Until Felix has started once its pods are open to everyone, so the runtime gets its network only now.
    session.wait([f"felix-{node.name}"], lambda: _felix_ready(node))
    (node.cni_config / "10-calico.conflist").write_text(node_config.cni_conflist(layout, node))
    session.start(kubelet_process(node), node_config.kubelet_argv(layout, node))


def kubelet_process(node: Node) -> str:
    """The name of the last process that `start` starts: where it is, the node is complete."""
    return f"kubelet-{node.name}"


def wait_ready(layout: Layout, session: Session, node: Node) -> None:
    ready = (*kubectl(layout), "wait", f"node/{node.name}", "--for=condition=Ready", "--timeout=1s")
    session.wait([kubelet_process(node)], lambda: succeeds(ready))


def connect(layout: Layout, session: Session, nodes: list[Node]) -> None:
    """Routes between the nodes' pods; there is no routing protocol here."""
    for node in nodes:
        for other in nodes:
            if other != node:
                route = ("route", "replace", str(other.pods), "via", str(other.address), "dev", "eth0")
                session.inside(["ip", "-n", node.name, *route])


def _make_network(layout: Layout, session: Session, node: Node) -> None:
    address = f"{node.address}/{layout.subnet.prefixlen}"
    arguments = (node.name, node.host_link, layout.bridge, address, str(layout.host))
    session.inside(["sh", "-eu", "-c", _NETWORK_SCRIPT, "network", *arguments])


def _write_files(layout: Layout, session: Session, node: Node, sandbox_image: str) -> None:
    for folder in ("kubelet", "pod-logs", "volume-plugins", "opt", "cni"):
        (node.folder / folder).mkdir(parents=True, exist_ok=True)
    session.inside(["mkdir", "-p", str(node.run), f"{node_config.endpoint_status(node)}/endpoint-status"])
    files = {
        "containerd.toml": node_config.containerd_toml(layout, node, sandbox_image, _has_capability(CAP_SYS_RESOURCE)),
        "runsc.toml": node_config.runsc_toml(layout),
        "kubelet.json": node_config.kubelet_config(layout, node),
        "kube-proxy.json": node_config.kube_proxy_config(layout, node),
        "resolv.conf": "",
        "felix.cfg": "",
    }
    for name, content in files.items():
        (node.folder / name).write_text(content)
    for sysctl in node_config.SHIELDED_SYSCTLS:
        shield, real = node.folder / "sysctls" / sysctl, Path("/proc/sys") / sysctl
        if real.exists() and not shield.exists():
            shield.parent.mkdir(parents=True, exist_ok=True)
            shield.write_text(real.read_text())


def _felix_ready(node: Node) -> bool:
    url = f"http://{node.address}:{node_config.FELIX_HEALTH_PORT}/readiness"
    # The user's proxy has no part in this.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2):
            return True
    except (urllib.error.URLError, OSError):
        return False


def _has_capability(number: int) -> bool:
    status = Path("/proc/self/status").read_text()
    effective = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective, 16) >> number & 1)
