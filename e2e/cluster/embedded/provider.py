"""The embedded cluster as a provider: what comes after what."""

import fcntl
import os
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from e2e.cluster import packages
from e2e.cluster.commands import run, succeeds
from e2e.cluster.embedded import addons, control_plane, fake_nodes, machine, node, pki, session
from e2e.cluster.embedded.containerd import Containerd
from e2e.cluster.embedded.layout import Layout, Node
from e2e.cluster.embedded.session import Session
from e2e.cluster.errors import Missing, NotRunning
from e2e.cluster.images import exported, read
from e2e.cluster.progress import Progress
from e2e.cluster.provider import MAXIMUM_NODES, Component, Wanted
from e2e.cluster.upstream import build, catalogue

# One binary, which is what it is called.
KUBERNETES_PROGRAMS = (
    *("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"),
    *("kubelet", "kube-proxy", "kubectl"),
)


class Embedded:
    """See `Provider`."""

    def __init__(self, name: str, progress: Progress) -> None:
        self._name = name
        self._progress = progress

    def up(self, wanted: Wanted) -> None:
        _check_rights()
        packages.require(packages.CONTROL_PLANE, self._progress)
        if wanted.nodes:
            packages.require(packages.NODE, self._progress)
        binaries = build.ensure(artifacts(wanted), self._progress)
        with lock(f"cluster-{self._name}"):
            layout, running = self._begun()
            _link_binaries(layout, binaries)
            nodes = [layout.node(number) for number in range(1, wanted.nodes + 1)]
            pki.ensure(layout, nodes)
            with self._progress.step("control plane"):
                control_plane.start(layout, running)
            if nodes:
                self._start_nodes(layout, running, nodes, binaries)
            if wanted.fake_nodes:
                with self._progress.step(f"{wanted.fake_nodes} fake nodes"):
                    fake_nodes.ensure(layout, running, wanted.fake_nodes, binaries)

    def down(self) -> None:
        _check_rights()
        with lock(f"cluster-{self._name}"):
            layout = machine.place(self._name)
            running = session.connect(layout)
            if running is not None:
                with self._progress.step("stop the nodes, what runs on them, and the control plane", "1 or 2 minutes"):
                    running.end()
            with self._progress.step("remove the cluster's links, mounts and files"):
                machine.clean(layout)

    def status(self) -> list[Component]:
        layout = machine.place(self._name)
        running = session.connect(layout)
        if running is None:
            return []
        supervisor = Component("supervisor", True, f"process {running.pid}, state in {layout.state}")
        processes = [
            Component(name, state.running, f"{_restarts(state.starts)}{state.log}")
            for name, state in running.processes().items()
        ]
        return [supervisor, *processes, *_api_components(layout)]

    def load(self, images: list[str]) -> None:
        layout, running = self._running()
        nodes = _running_nodes(layout, running)
        if not nodes:
            raise Missing("the cluster has no node that could hold images", "start one: `up --nodes 1`")
        for name in images:
            with self._progress.step(f"load {name}"), exported(name) as path, ThreadPoolExecutor() as pool:
                image = read(path)
                sending = [pool.submit(Containerd(running, each).load, image) for each in nodes]
                sent = [each.result() for each in sending]
            self._progress.say(f"  {image.reference}: {'loaded' if any(sent) else 'is there'}")

    def kubeconfig(self) -> Path:
        layout, _ = self._running()
        return layout.admin_kubeconfig

    def _running(self) -> tuple[Layout, Session]:
        layout = machine.place(self._name)
        running = session.connect(layout)
        if running is None:
            raise NotRunning(self._name)
        return layout, running

    def _begun(self) -> tuple[Layout, Session]:
        with lock("places"):
            layout = machine.place(self._name)
            running = session.connect(layout)
            if running is not None:
                return layout, running
            if machine.remains(layout):
                with self._progress.step("clean up after a cluster that was killed"):
                    machine.clean(layout)
            machine.add_bridge(layout)
        layout.logs.mkdir(parents=True)
        return layout, session.begin(layout)

    def _start_nodes(self, layout: Layout, running: Session, nodes: list[Node], binaries: Mapping[str, Path]) -> None:
        present = _running_nodes(layout, running)
        missing = [wanted for wanted in nodes if wanted not in present]
        if missing or addons.PROVISIONER_PROCESS not in running.processes():
            with self._progress.step("network policy's CRDs, images of the node's own"):
                images = addons.write_images(layout, binaries)
                addons.apply_network(layout, binaries)
            with self._progress.step("start the nodes' processes"), ThreadPoolExecutor() as pool:
                starts = [
                    pool.submit(node.start, layout, running, each, images.node_tools, images.folders)
                    for each in missing
                ]
                addons.apply_services(layout, images)
                addons.start_provisioner(layout, running)
                for start in starts:
                    start.result()
        node.connect(layout, running, [*present, *missing])
        for each in nodes:
            with self._progress.step(f"{each.name} ready"):
                node.wait_ready(layout, running, each)
        with self._progress.step("DNS ready"):
            addons.wait_ready(layout)


@contextmanager
def lock(name: str) -> Generator[None]:
    """One change at a time to a cluster, and one cluster at a time that looks for its subnet."""
    build.cache_folder().mkdir(parents=True, exist_ok=True)
    with (build.cache_folder() / f".{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def artifacts(wanted: Wanted) -> list[catalogue.Artifact]:
    """All that has to be built before `wanted` can start."""
    return [
        *catalogue.CONTROL_PLANE,
        *(catalogue.NODE if wanted.nodes else ()),
        *(catalogue.FAKE_NODES if wanted.fake_nodes else ()),
    ]


def _check_rights() -> None:
    if os.geteuid() != 0:
        raise Missing("the embedded cluster makes network links and namespaces", "run this as root (`sudo -E`)")
    if not succeeds(["unshare", "--net", "--mount", "--pid", "--fork", "true"]):
        raise Missing(
            "this machine does not let root make namespaces (a container without CAP_SYS_ADMIN?)",
            "run this on a virtual machine or in a privileged container, or use `--provider kind`",
        )


def _running_nodes(layout: Layout, running: Session) -> list[Node]:
    """Those whose kubelet, the last of a node's processes, was started."""
    processes = running.processes()
    candidates = [layout.node(number) for number in range(1, MAXIMUM_NODES + 1)]
    return [candidate for candidate in candidates if node.kubelet_process(candidate) in processes]


def _api_components(layout: Layout) -> list[Component]:
    """The API itself, and the nodes as it sees them."""
    if not control_plane.ready(layout):
        return [Component("API", False, f"{layout.api_url} does not answer")]
    template = (
        "{range .items[*]}{.metadata.name}{' '}"
        "{.status.conditions[?(@.type=='Ready')].status}{' '}{.status.nodeInfo.kubeletVersion}{'\\n'}{end}"
    ).replace("'", '"')
    query = ("--request-timeout=5s", "get", "nodes", "--output", f"jsonpath={template}")
    rows = [line.split() for line in run([*control_plane.kubectl(layout), *query]).splitlines()]
    nodes = [Component(row[0], "True" in row[1:2], f"node, {' '.join(row[2:])}") for row in rows]
    return [Component("API", True, layout.api_url), *nodes]


def _link_binaries(layout: Layout, binaries: dict[str, Path]) -> None:
    """A folder where each program has its own name: by it they find each other, and Kubernetes knows what to be."""
    layout.binaries.mkdir(parents=True, exist_ok=True)
    kubernetes = binaries[catalogue.KUBERNETES.name]
    for name, target in (binaries | dict.fromkeys(KUBERNETES_PROGRAMS, kubernetes)).items():
        link = layout.binaries / name
        if not link.is_symlink():
            link.symlink_to(target)


def _restarts(starts: int) -> str:
    return "" if starts == 1 else f"started {starts} times, "
