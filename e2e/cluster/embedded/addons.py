"""What every node needs in the API: network policy's CRDs, DNS, storage, runtime classes; and the images of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template

from e2e.cluster import images
from e2e.cluster.commands import run
from e2e.cluster.embedded import pki
from e2e.cluster.embedded.control_plane import kubectl
from e2e.cluster.embedded.layout import DNS_SERVICE, Layout
from e2e.cluster.embedded.session import Session
from e2e.cluster.upstream.catalogue import CALICO_CRDS, COREDNS, NODE_TOOLS

MANIFESTS = Path(__file__).parent / "manifests"
PROVISIONER = "rancher.io/local-path"
PROVISIONER_PROCESS = "local-path-provisioner"
NODE_TOOL_NAMES = ("pause", "setup", "teardown", "kernel", "listen", "reach", "never-reach")
_FIELD_MANAGER = "ambit-cluster"


@dataclass(frozen=True)
class NodeImages:
    """The images that are made of binaries, not loaded by the user: OCI layouts, and the names that pods use."""

    node_tools: str
    coredns: str
    folders: tuple[Path, ...]


def write_images(layout: Layout, binaries: Mapping[str, Path]) -> NodeImages:
    """Named by the binaries' hashes, so that an image of the same name is the same image."""
    tools, coredns = binaries[NODE_TOOLS.name], binaries[COREDNS.name]
    names = {
        path: f"ambit.dev/{path.name.rpartition('-')[0]}:{path.name.rpartition('-')[2]}" for path in (tools, coredns)
    }
    contents = {tools: [f"/{name}" for name in NODE_TOOL_NAMES], coredns: ["/coredns"]}
    folders: list[Path] = []
    for path, programs in contents.items():
        folder = layout.state / "images" / path.name
        if not (folder / "index.json").exists():
            images.write_layout(folder, names[path], dict.fromkeys(programs, path), command=programs[:1])
        folders.append(folder)
    return NodeImages(names[tools], names[coredns], tuple(folders))


def apply_network(layout: Layout, binaries: Mapping[str, Path]) -> None:
    """Calico's CRDs and objects, before Felix starts."""
    crds = binaries[CALICO_CRDS.name]
    _apply(layout, crds.read_text())
    run([*kubectl(layout), "wait", "--for=condition=Established", "--timeout=60s", "-f", str(crds)])
    _apply(layout, _manifest("calico", pods=str(layout.pods)))


def apply_services(layout: Layout, node_images: NodeImages) -> None:
    """Everything else; it becomes ready when a node is."""
    _apply(layout, _manifest("runtime-class"))
    _apply(layout, _manifest("dns", dns_service=str(DNS_SERVICE), coredns_image=node_images.coredns))
    _apply(layout, _manifest("storage", state=str(layout.state), node_tools_image=node_images.node_tools))


def start_provisioner(layout: Layout, session: Session) -> None:
    """Comes after `apply_services`: where it runs, all of that is there."""
    session.start(
        PROVISIONER_PROCESS,
        [
            *("local-path-provisioner", "start", f"--kubeconfig={pki.kubeconfig(layout, pki.LOCAL_PATH)}"),
            *("--namespace=local-path-storage", "--configmap-name=local-path-config"),
            *(f"--provisioner-name={PROVISIONER}", "--service-account-name=volume-helper"),
        ],
        {"POD_NAMESPACE": "local-path-storage"},
    )


def wait_ready(layout: Layout) -> None:
    """Until names are resolved. Raises CommandFailed with kubectl's message."""
    run([*kubectl(layout), "rollout", "status", "--namespace=kube-system", "deployment/coredns", "--timeout=180s"])


def _manifest(name: str, **values: str) -> str:
    return Template((MANIFESTS / f"{name}.yaml").read_text()).substitute(values)


def _apply(layout: Layout, manifest: str) -> None:
    apply = ("apply", "--server-side", "--force-conflicts", f"--field-manager={_FIELD_MANAGER}", "-f", "-")
    run([*kubectl(layout), *apply], stdin=manifest)
