"""The embedded cluster as a provider: what comes after what."""

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from e2e.cluster import packages
from e2e.cluster.commands import succeeds
from e2e.cluster.embedded import control_plane, machine, pki, session
from e2e.cluster.embedded.layout import Layout
from e2e.cluster.errors import Missing, NotRunning
from e2e.cluster.progress import Progress
from e2e.cluster.provider import Component, Wanted
from e2e.cluster.upstream import build, catalogue

CONTROL_PLANE_NAMES = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
NODE_PROGRAM_NAMES = ("kubelet", "kube-proxy")


class Embedded:
    """See `Provider`."""

    def __init__(self, name: str, progress: Progress) -> None:
        self._name = name
        self._progress = progress

    def up(self, wanted: Wanted) -> None:
        self._check_rights()
        packages.require(packages.CONTROL_PLANE, self._progress)
        binaries = build.ensure(catalogue.CONTROL_PLANE, self._progress)
        with self._locked():
            layout = machine.place(self._name)
            running = session.connect(layout) or self._begin(layout)
            _link_binaries(layout, binaries)
            pki.ensure(layout, [])
            control_plane.start(layout, running, self._progress)

    def down(self) -> None:
        self._check_rights()
        with self._locked():
            layout = machine.place(self._name)
            running = session.connect(layout)
            if running is not None:
                running.end()
            machine.clean(layout)

    def status(self) -> list[Component]:
        layout = machine.place(self._name)
        running = session.connect(layout)
        if running is None:
            return []
        return [Component("supervisor", True, f"process {running.pid}, state {layout.state}")] + [
            Component(name, state.running, f"{_restarts(state.starts)}log {state.log}")
            for name, state in running.processes().items()
        ]

    def load(self, images: list[str]) -> None:
        raise Missing("the cluster has no node that could hold images", "start it with `--nodes 1`")

    def kubeconfig(self) -> Path:
        layout = machine.place(self._name)
        if session.connect(layout) is None:
            raise NotRunning(self._name)
        return layout.admin_kubeconfig

    def _begin(self, layout: Layout) -> session.Session:
        if machine.remains(layout):
            with self._progress.step("clean up after a cluster that was killed"):
                machine.clean(layout)
        machine.add_bridge(layout)
        layout.logs.mkdir(parents=True)
        return session.begin(layout)

    def _check_rights(self) -> None:
        if os.geteuid() != 0:
            raise Missing("the embedded cluster makes network links and namespaces", "run this as root (`sudo -E`)")
        if not succeeds(["unshare", "--net", "--mount", "--pid", "--fork", "true"]):
            raise Missing(
                "this machine does not let root make namespaces (a container without CAP_SYS_ADMIN?)",
                "run this on a virtual machine or in a privileged container, or use `--provider kind`",
            )

    @contextmanager
    def _locked(self) -> Generator[None]:
        """One change at a time to a cluster."""
        build.cache_folder().mkdir(parents=True, exist_ok=True)
        with (build.cache_folder() / f".cluster-{self._name}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _link_binaries(layout: Layout, binaries: dict[str, Path]) -> None:
    """A folder where each program has its own name: by it they find each other, and Kubernetes knows what to be."""
    layout.binaries.mkdir(parents=True, exist_ok=True)
    kubernetes = binaries[catalogue.KUBERNETES.name]
    links = binaries | dict.fromkeys((*CONTROL_PLANE_NAMES, *NODE_PROGRAM_NAMES), kubernetes)
    for name, target in links.items():
        link = layout.binaries / name
        if not link.is_symlink():
            link.symlink_to(target)


def _restarts(starts: int) -> str:
    return "" if starts == 1 else f"started {starts} times, "
