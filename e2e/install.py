"""Ambit on a cluster that stands: images built and loaded, the chart installed, everything ready.

The demo, the cluster tests and whoever tries a change use this one way (`python -m e2e.install --name ambit`).
"""

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from e2e.cluster.cli import provider_of
from e2e.cluster.progress import Progress
from e2e.cluster.upstream import build
from e2e.images.__main__ import Built, build_images, cache_folder, choose_builder
from e2e.images.catalogue import CATALOGUE, REPOSITORY

NAMESPACE = "ambit-system"
RELEASE = "ambit"
DEPLOYMENTS = ("ambit-operator", "ambit-ledger", "ambit-gateway")
READY_WITHIN_S = 180


@dataclass(frozen=True)
class Installed:
    """What was installed: the way to the apiserver, and each image's reference by its name."""

    kubeconfig: Path
    images: Mapping[str, str]

    def kubectl(self, *arguments: str, stdin: str | None = None, accepted: Sequence[int] = (0,)) -> str:
        """The standard output of one `kubectl`; its error output is shown where its exit code is not `accepted`."""
        return _run([str(build.tool("kubectl", Progress())), *arguments], self.kubeconfig, stdin, accepted)


def build_and_load(name: str, provider: str | None, images: Sequence[str], progress: Progress) -> dict[str, str]:
    """Builds the named images (none: all) and puts them on the nodes of cluster `name`; returns their references."""
    builder = choose_builder("auto", cache_folder(os.environ))
    built: dict[str, Built] = {}
    with progress.step("images"):
        for image in build_images(list(images), builder, cache_folder(os.environ)):
            built[image.name] = image
            if not image.was_there:
                progress.say(f"    {image.name} built in {image.seconds:.1f} s")
    with progress.step("load images"):
        provider_of(name, provider).load([str(image.path) for image in built.values()])
    return {image_name: image.reference for image_name, image in built.items()}


def install_chart(kubeconfig: Path, images: Mapping[str, str], progress: Progress) -> None:
    """Installs or upgrades the release and waits until each of its parts is ready."""
    helm, kubectl = str(build.tool("helm", progress)), str(build.tool("kubectl", progress))
    with progress.step("install the chart"):
        _run(
            [
                *(helm, "upgrade", RELEASE, str(REPOSITORY / "charts" / "ambit"), "--install"),
                *("--namespace", NAMESPACE, "--create-namespace"),
                *(
                    "--set",
                    f"image.ambit={images['ambit']}",
                    "--set",
                    f"image.isolateHost={images['ambit-isolate-host']}",
                ),
            ],
            kubeconfig,
        )
    for deployment in DEPLOYMENTS:
        with progress.step(f"{deployment} ready"):
            _run(
                [
                    *(kubectl, "--namespace", NAMESPACE, "rollout", "status", f"deployment/{deployment}"),
                    f"--timeout={READY_WITHIN_S}s",
                ],
                kubeconfig,
            )


def install(name: str, provider: str | None, progress: Progress) -> Installed:
    """All of it, on cluster `name`, which must be up."""
    images = build_and_load(name, provider, [image.name for image in CATALOGUE], progress)
    kubeconfig = provider_of(name, provider).kubeconfig()
    install_chart(kubeconfig, images, progress)
    return Installed(kubeconfig, images)


def _run(argv: Sequence[str], kubeconfig: Path, stdin: str | None = None, accepted: Sequence[int] = (0,)) -> str:
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
    done = subprocess.run(argv, env=environment, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode not in accepted:
        raise click.ClickException(f"{' '.join(argv)} failed with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


@click.command()
@click.option("--name", default="ambit", show_default=True, help="The cluster's name.")
@click.option("--provider", default=None, help="The cluster's provider, where it is not the default one.")
def main(name: str, provider: str | None) -> None:
    """Builds, loads and installs Ambit on a cluster that is up."""
    install(name, provider, Progress())


if __name__ == "__main__":
    main()
