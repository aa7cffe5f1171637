"""The current provider: a cluster that is there, by the kubeconfig's current context. Nothing is made or removed."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import yaml

from e2e.cluster.commands import succeeds
from e2e.cluster.errors import Missing
from e2e.cluster.progress import Progress
from e2e.cluster.provider import Component, Wanted
from e2e.cluster.upstream import build


class Current:
    """See `Provider`."""

    def __init__(self, progress: Progress, environ: Mapping[str, str] = os.environ) -> None:
        self._progress = progress
        self._environ = environ

    def up(self, wanted: Wanted) -> None:
        if wanted.fake_nodes:
            raise Missing("the current provider adds no fake nodes to your cluster", "use `--provider embedded`")
        if not succeeds([*self._kubectl(), "get", "--raw=/readyz"]):
            raise Missing(
                f"the cluster of context {self._context()} does not answer", "check it with `kubectl version`"
            )

    def down(self) -> None:
        raise Missing("this cluster was not made by `up`, and is not removed", "uninstall the chart instead")

    def status(self) -> list[Component]:
        healthy = succeeds([*self._kubectl(), "get", "--raw=/readyz"])
        return [Component(self._context(), healthy, f"context of {self.kubeconfig()}")]

    def load(self, images: list[str]) -> None:
        raise Missing(
            f"images cannot be put on the nodes of {self._context()} from here ({', '.join(images)})",
            "push them to a registry that its nodes pull from, and give the chart their references: `helm install ambit"
            " charts/ambit --namespace ambit-system --create-namespace --set image.ambit=REGISTRY/ambit:TAG --set"
            " image.isolateHost=REGISTRY/ambit-isolate-host:TAG` (docs/own-cluster.md)",
        )

    def kubeconfig(self) -> Path:
        return Path(self._environ.get("KUBECONFIG") or Path.home() / ".kube" / "config")

    def _context(self) -> str:
        """As kubectl reads it, of the first file that names one; read here, since a kubectl may have to be built."""
        for path in str(self.kubeconfig()).split(os.pathsep):
            if Path(path).is_file() and (context := _current_context(Path(path))):
                return context
        raise Missing(f"{self.kubeconfig()} has no current context", "choose one (`kubectl config use-context NAME`)")

    def _kubectl(self) -> list[str]:
        kubectl = build.client("kubectl", self._progress)
        # A list of files in KUBECONFIG is for kubectl to merge; its --kubeconfig takes one file only.
        return [str(kubectl), "--request-timeout=10s"]


def _current_context(path: Path) -> str:
    """The current context of one kubeconfig; empty where it names none. Raises Missing."""
    try:
        content: object = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise Missing(f"{path} is no kubeconfig", "correct it, or name another in KUBECONFIG") from error
    if not isinstance(content, dict):
        return ""
    return str(cast("dict[str, object]", content).get("current-context") or "")
