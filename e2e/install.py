"""Ambit on a cluster that stands: images built and loaded, the chart installed, everything ready.

The demo, the cluster tests and whoever tries a change use this one way (`python -m e2e.install --name ambit`).
"""

import json
import os
import subprocess
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import click

from e2e.cluster.cli import provider_of
from e2e.cluster.commands import run
from e2e.cluster.errors import ClusterError, CommandFailed
from e2e.cluster.progress import Progress
from e2e.cluster.upstream import build
from e2e.images.__main__ import Built, build_images, cache_folder, choose_builder
from e2e.images.catalogue import CATALOGUE, REPOSITORY
from e2e.images.dockerfile import UnsupportedInstructionError
from e2e.images.inputs import MissingInputError

NAMESPACE = "ambit-system"
RELEASE = "ambit"
DEPLOYMENTS = ("ambit-operator", "ambit-ledger", "ambit-gateway")
READY_WITHIN_S = 180


@dataclass(eq=False)
class ImagesNotBuilt(ClusterError):
    """The images could not be built. `str()` is the message, complete in itself."""

    why: str

    def __str__(self) -> str:
        return self.why


@dataclass(eq=False)
class NotReady(ClusterError):
    """A part of Ambit was installed and did not become ready. `log` is the end of what it wrote."""

    deployment: str
    log: str

    def __str__(self) -> str:
        return f"{self.deployment} was not ready within {READY_WITHIN_S} s; the end of its log:\n{self.log.strip()}"


@dataclass(frozen=True)
class Kubectl:
    """kubectl on one cluster. Raises CommandFailed, with kubectl's own words, where its exit code is not accepted."""

    kubeconfig: Path
    program: Path

    @classmethod
    def of(cls, kubeconfig: Path, progress: Progress) -> Self:
        """The one to use on the cluster of `kubeconfig`."""
        return cls(kubeconfig, build.client("kubectl", progress))

    def run(self, *arguments: str, stdin: str | None = None, accepted: Collection[int] = (0,)) -> str:
        """What it prints."""
        command = [str(self.program), "--kubeconfig", str(self.kubeconfig), *arguments]
        return run(command, stdin=stdin, accepted=accepted)

    def get(self, *arguments: str) -> dict[str, Any]:
        """An object, or a list of them."""
        got: dict[str, Any] = json.loads(self.run("get", "--output", "json", *arguments))
        return got


@dataclass(frozen=True)
class Installed:
    """What was installed: the way to the apiserver, and each image's reference by its name."""

    kubeconfig: Path
    images: Mapping[str, str]

    def kubectl(self, *arguments: str, stdin: str | None = None, accepted: Collection[int] = (0,)) -> str:
        """What one `kubectl` prints."""
        return Kubectl.of(self.kubeconfig, Progress()).run(*arguments, stdin=stdin, accepted=accepted)


def build_and_load(name: str, provider: str | None, images: Sequence[str], progress: Progress) -> dict[str, str]:
    """Builds the named images and puts them on the nodes of cluster `name`; returns each one's reference."""
    with progress.step("images"):
        built = [image for image in _built(images, progress) if image.name in images]
    with progress.step("load images"):
        provider_of(name, provider).load([str(image.path) for image in built])
    return {image.name: image.reference for image in built}


def _built(names: Sequence[str], progress: Progress) -> list[Built]:
    """The named images and those that they are built on. Raises ImagesNotBuilt."""
    root, built = cache_folder(os.environ), list[Built]()
    try:
        for image in build_images(list(names), choose_builder("auto", root), root):
            built.append(image)
            if not image.was_there:
                progress.say(f"    {image.name} built in {image.seconds:.1f} s")
    except (MissingInputError, UnsupportedInstructionError) as error:
        raise ImagesNotBuilt(str(error)) from error
    except subprocess.CalledProcessError as error:
        raise ImagesNotBuilt(f"{error.cmd[0]} failed with {error.returncode}: its last lines are above") from error
    return built


def install_chart(kubeconfig: Path, images: Mapping[str, str], progress: Progress) -> None:
    """Installs or upgrades the release and waits until each of its parts is ready."""
    with progress.step("install the chart (helm upgrade --install)"):
        chart = str(REPOSITORY / "charts" / "ambit")
        values = [
            f"--set=image.ambit={images['ambit']}",
            f"--set=image.isolateHost={images['ambit-isolate-host']}",
        ]
        _helm(kubeconfig, progress, "upgrade", RELEASE, chart, "--install", "--create-namespace", *values)
    kubectl = Kubectl.of(kubeconfig, progress)
    for deployment in DEPLOYMENTS:
        with progress.step(f"{deployment} ready"):
            _wait_ready(kubectl, deployment)


def _wait_ready(kubectl: Kubectl, deployment: str) -> None:
    """Raises NotReady."""
    of = (f"deployment/{deployment}", "--namespace", NAMESPACE)
    try:
        kubectl.run("rollout", "status", *of, f"--timeout={READY_WITHIN_S}s")
    except CommandFailed as error:
        # Whoever started the cluster may take it down now, and the Pods' logs with it.
        raise NotReady(deployment, kubectl.run("logs", *of, "--tail=20", accepted=(0, 1))) from error


def uninstall_chart(kubeconfig: Path, progress: Progress) -> None:
    """Uninstalls the release, where it is installed; its hook ends every session first."""
    with progress.step("uninstall the chart"):
        _helm(kubeconfig, progress, "uninstall", RELEASE, "--ignore-not-found", "--wait", "--timeout", "5m")


def install(name: str, provider: str | None, progress: Progress) -> Installed:
    """All of it, every image included, on cluster `name`, which must be up."""
    images = build_and_load(name, provider, [image.name for image in CATALOGUE], progress)
    kubeconfig = provider_of(name, provider).kubeconfig()
    install_chart(kubeconfig, images, progress)
    return Installed(kubeconfig, images)


def _helm(kubeconfig: Path, progress: Progress, *arguments: str) -> None:
    where = ("--namespace", NAMESPACE, "--kubeconfig", str(kubeconfig))
    run([str(build.client("helm", progress)), *arguments, *where])


@click.command()
@click.option("--name", default="ambit", show_default=True, help="The cluster's name.")
@click.option("--provider", default=None, help="The cluster's provider, where it is not the default one.")
def main(name: str, provider: str | None) -> None:
    """Builds, loads and installs Ambit on a cluster that is up."""
    try:
        install(name, provider, Progress())
    except ClusterError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
