"""The two that can build an image from a Dockerfile: docker, where its engine runs, and buildah, which needs none.

Either gets the same: a folder with the hashed inputs as context, the build's secrets as files, and a reference to
give. Either leaves the image as a path that `python -m e2e.cluster load` takes.
"""

from __future__ import annotations

import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from e2e.images import base
from e2e.images.inputs import Inputs
from e2e.images.layout import Layouts

_NO_MOUNT_LEFT: Final = "overlay.skip_mount_home=true"
"""Else the storage's folder stays bind-mounted on itself after the last command."""


class Builder(ABC):
    """Builds images and knows which it has built."""

    name: str

    @abstractmethod
    def path(self, reference: str) -> Path | None:
        """Where a built image lies; None if it has to be built."""

    @abstractmethod
    def build(self, inputs: Inputs, context: Path, secrets: Mapping[str, Path]) -> Path:
        """Build one image and say where it lies.

        Raises CalledProcessError; the builder's own output is on the terminal.
        """

    @abstractmethod
    def size_bytes(self, reference: str) -> int:
        """What a built image takes where it lies."""

    @abstractmethod
    def prune(self, used: list[str]) -> None:
        """Drop what older builds left and nobody needs. `used` stays whatever its age."""


def build_arguments(inputs: Inputs, context: Path, secrets: Mapping[str, Path]) -> list[str]:
    """The arguments that docker and buildah share."""
    arguments = ["--file", str(context / "Dockerfile"), "--tag", inputs.reference, "--network", "host"]
    if inputs.image.target is not None:
        arguments += ["--target", inputs.image.target]
    for name, value in inputs.build_args.items():
        arguments += ["--build-arg", f"{name}={value}"]
    for name, path in secrets.items():
        arguments += ["--secret", f"id={name},src={path}"]
    return arguments


class Buildah(Builder):
    """buildah with a storage of its own under `root`: nothing of the machine's other images is seen or touched."""

    name = "buildah"

    def __init__(self, root: Path) -> None:
        self._root = root
        self._layouts = Layouts(root)
        self._policy = root / "policy.json"

    def path(self, reference: str) -> Path | None:
        there = (self._root / "storage").is_dir() and self._layouts.has(reference)
        return self._layouts.of(reference) if there else None

    def build(self, inputs: Inputs, context: Path, secrets: Mapping[str, Path]) -> Path:
        self._ensure_base()
        # Without time stamps the same files give the same layer; unchanged steps come from the storage.
        reproducible = ["--timestamp", "0", "--layers", "--force-rm"]
        alone = ["--isolation", "chroot", "--pull-never", "--signature-policy", str(self._policy), "--quiet"]
        self._run("build", *reproducible, *alone, *build_arguments(inputs, context, secrets), str(context))
        # Layers stay as they are, uncompressed: so those that are there already are neither read nor written again.
        storage = f"[overlay@{self._root}/storage+{self._root}/run:{_NO_MOUNT_LEFT}]"
        source, target = (
            f"containers-storage:{storage}{inputs.reference}",
            f"oci:{self._layouts.shared}:{inputs.reference}",
        )
        copy = ["copy", "--quiet", "--dest-oci-accept-uncompressed-layers", source, target]
        subprocess.run(["skopeo", "--policy", str(self._policy), *copy], check=True)
        return self._layouts.add(inputs.reference)

    def size_bytes(self, reference: str) -> int:
        return self._layouts.size_bytes(reference)

    def prune(self, used: list[str]) -> None:
        if self._layouts.shared.is_dir():
            self._layouts.prune(used)

    def _ensure_base(self) -> None:
        """The Debian base in the storage, under the name that Dockerfiles use."""
        self._root.mkdir(parents=True, exist_ok=True)
        self._run(
            "rm", "--all"
        )  # containers, and their mounts, of builds that were killed; the lock says that none runs
        self._policy.write_text(
            '{"default": [{"type": "insecureAcceptAnything"}]}\n'
        )  # nothing is pulled from anywhere
        ours = f"localhost/debian-base:{base.identity()}"
        if self._output("images", "--quiet", "--filter", f"reference={ours}"):
            return
        archive = base.ensure_archive(self._root / "base")
        container = self._output("from", "scratch")
        try:
            self._run("add", "--quiet", container, str(archive), "/")
            self._run("config", "--cmd", "/bin/bash", container)
            self._run(
                "commit",
                "--quiet",
                "--timestamp",
                "0",
                "--signature-policy",
                str(self._policy),
                container,
                base.REFERENCE,
            )
            self._run("tag", base.REFERENCE, ours)
        finally:
            self._run("rm", container)

    def _command(self, arguments: tuple[str, ...]) -> list[str]:
        storage = ["--root", str(self._root / "storage"), "--runroot", str(self._root / "run")]
        driver = ["--storage-driver", "overlay", "--storage-opt", _NO_MOUNT_LEFT]
        return ["buildah", *storage, *driver, *arguments]

    def _run(self, *arguments: str) -> None:
        subprocess.run(self._command(arguments), check=True, stdout=subprocess.DEVNULL)

    def _output(self, *arguments: str) -> str:
        return subprocess.run(self._command(arguments), check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


class Docker(Builder):
    """The docker engine of the machine; what it built is saved as one archive per image under `root`."""

    name = "docker"

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, reference: str) -> Path | None:
        archive = self._archive(reference)
        return archive if archive.is_file() else None

    def build(self, inputs: Inputs, context: Path, secrets: Mapping[str, Path]) -> Path:
        subprocess.run(
            ["docker", "build", "--quiet", *build_arguments(inputs, context, secrets), str(context)],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        archive = self._archive(inputs.reference)
        archive.parent.mkdir(parents=True, exist_ok=True)
        unfinished = archive.with_suffix(".new")
        subprocess.run(["docker", "save", "--output", str(unfinished), inputs.reference], check=True)
        unfinished.rename(archive)
        return archive

    def size_bytes(self, reference: str) -> int:
        return self._archive(reference).stat().st_size

    def prune(self, used: list[str]) -> None:
        """An archive holds all of its image: only those in use stay."""
        needed = {self._archive(reference) for reference in used}
        names = {reference.rpartition("/")[2].rpartition(":")[0] for reference in used}
        for archive in self._root.glob("archives/*.tar"):
            if archive not in needed and archive.stem.rpartition("-")[0] in names:
                archive.unlink()

    def _archive(self, reference: str) -> Path:
        return self._root / "archives" / f"{reference.rpartition('/')[2].replace(':', '-')}.tar"


def docker_engine_runs() -> bool:
    """Whether a docker client is there and an engine answers it."""
    if shutil.which("docker") is None:
        return False
    answer = subprocess.run(["docker", "info", "--format", "{{.ID}}"], capture_output=True, check=False)
    return answer.returncode == 0 and bool(answer.stdout.strip())
