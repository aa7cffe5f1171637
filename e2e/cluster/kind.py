"""The kind provider: Kubernetes in Docker, for machines that have both. Thin: kind does the work."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from e2e.cluster import images
from e2e.cluster.commands import run
from e2e.cluster.errors import Missing, NotRunning
from e2e.cluster.progress import Progress
from e2e.cluster.provider import Component, Wanted
from e2e.cluster.upstream.build import cache_folder

WAIT = "300s"


class Kind:
    """See `Provider`. kindnet enforces NetworkPolicy since kind 0.24, and StorageClass `standard` is its default."""

    def __init__(self, name: str, progress: Progress) -> None:
        self._name = name
        self._progress = progress

    def up(self, wanted: Wanted) -> None:
        if wanted.fake_nodes:
            raise Missing("the kind provider has no fake nodes", "use `--provider embedded`")
        if self._exists():
            return
        self._path().parent.mkdir(parents=True, exist_ok=True)
        with self._progress.step(f"kind create cluster {self._name}"):
            run(create_command(self._name, self._path()), stdin=json.dumps(cluster_config(wanted)))

    def down(self) -> None:
        with self._progress.step(f"kind delete cluster {self._name}"):
            run(["kind", "delete", "cluster", "--name", self._name, "--kubeconfig", str(self._path())])
        self._path().unlink(missing_ok=True)

    def status(self) -> list[Component]:
        if not self._exists():
            return []
        nodes = run(["kind", "get", "nodes", "--name", self._name]).split()
        return [Component(node, True, f"container, {self._path()}") for node in nodes]

    def load(self, images: list[str]) -> None:
        if not self._exists():
            raise NotRunning(self._name)
        for name in images:
            with self._progress.step(f"load {name}"):
                self._load(name)

    def kubeconfig(self) -> Path:
        if not self._exists():
            raise NotRunning(self._name)
        return self._path()

    def _load(self, name: str) -> None:
        if not Path(name).exists():
            run(["kind", "load", "docker-image", name, "--name", self._name])
            return
        with tempfile.NamedTemporaryFile(suffix=".tar") as archive:
            images.write_archive(images.read(Path(name)), (), archive)
            archive.flush()
            run(["kind", "load", "image-archive", archive.name, "--name", self._name])

    def _exists(self) -> bool:
        return self._name in run(["kind", "get", "clusters"]).split()

    def _path(self) -> Path:
        return cache_folder(os.environ).parent / "kind" / f"{self._name}.kubeconfig"


def create_command(name: str, kubeconfig: Path) -> list[str]:
    files = ("--config", "-", "--kubeconfig", str(kubeconfig))
    return ["kind", "create", "cluster", "--name", name, *files, "--wait", WAIT]


def cluster_config(wanted: Wanted) -> dict[str, Any]:
    """kind has no control plane without a node; a single one runs Pods too, so it counts as the first."""
    workers = max(0, wanted.nodes - 1)
    return {
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "kind": "Cluster",
        "nodes": [{"role": "control-plane"}, *({"role": "worker"} for _ in range(workers))],
    }
