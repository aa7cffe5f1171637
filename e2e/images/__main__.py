"""`python -m e2e.images`: see the package's docstring."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster.errors import ClusterError
from e2e.images import base
from e2e.images.builders import Buildah, Builder, Docker, docker_engine_runs
from e2e.images.catalogue import CATALOGUE, REPOSITORY, UnknownImageError, in_build_order
from e2e.images.dockerfile import UnsupportedInstructionError
from e2e.images.inputs import Inputs, MissingInputError, all_references, stage_context
from e2e.images.package_settings import package_secrets
from e2e.images.tools import ensure_tools


@dataclass(frozen=True, slots=True)
class Built:
    """One image as it was found or built: where it lies, and how long that took."""

    name: str
    reference: str
    path: Path
    was_there: bool
    seconds: float


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Where images and all that building them leaves lie, for this user."""
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ambit" / "images"


def choose_builder(name: str, root: Path) -> Builder:
    """The builder asked for; `auto`: docker where an engine runs, else buildah."""
    if name == "docker" or (name == "auto" and docker_engine_runs()):
        return Docker(root)
    return Buildah(root)


def build_images(names: list[str], builder: Builder, root: Path) -> Iterator[Built]:
    """Build what is not there yet of the named images (none named: all), in order.

    Each is given out as soon as it is there.
    """
    wanted = all_references(REPOSITORY, in_build_order(names), base.identity())
    with locked(root):
        for name, inputs in wanted.items():
            started = time.monotonic()
            path = builder.path(inputs.reference)
            was_there = path is not None
            if path is None:
                if isinstance(builder, Buildah):
                    ensure_tools()
                path = _build(inputs, builder)
            yield Built(name, inputs.reference, path, was_there, time.monotonic() - started)
        builder.prune([inputs.reference for inputs in wanted.values()])


def _build(inputs: Inputs, builder: Builder) -> Path:
    with tempfile.TemporaryDirectory(prefix="ambit-image-") as folder:
        context, secrets = Path(folder, "context"), Path(folder, "secrets")
        context.mkdir()
        secrets.mkdir(mode=0o700)
        stage_context(inputs, context)
        (context / "Dockerfile").write_text(inputs.dockerfile)
        files: dict[str, Path] = {}
        for name, content in package_secrets(os.environ, Path.home()).items():
            files[name] = secrets / name
            files[name].write_bytes(content)
        return builder.build(inputs, context, files)


@contextmanager
def locked(root: Path) -> Generator[None]:
    """One build at a time for a cache."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m e2e.images", description="Build every image of the project from its Dockerfile."
    )
    parser.add_argument(
        "--builder",
        choices=("auto", "buildah", "docker"),
        default="auto",
        help="default: docker where an engine runs, else buildah",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="build what has changed; prints each image's name, reference and path")
    build.add_argument("names", metavar="NAME", nargs="*", help="default: all")
    commands.add_parser("list", help="all images: whether they are built, and their size")
    tags = commands.add_parser("tags", help="NAME=REFERENCE for every image, built or not")
    tags.add_argument("--json", action="store_true", help="as one JSON object")
    return parser


def main() -> int:
    """The command line. 0: done; 1: a build failed; 2: something has to be done first, which is said in a sentence."""
    arguments = _parser().parse_args()
    root = cache_folder(os.environ)
    try:
        if arguments.command == "tags":
            references = {
                name: inputs.reference
                for name, inputs in all_references(REPOSITORY, CATALOGUE, base.identity()).items()
            }
            print(
                json.dumps(references, indent=2)
                if arguments.json
                else "\n".join(f"{name}={ref}" for name, ref in references.items())
            )
            return 0
        builder = choose_builder(arguments.builder, root)
        if arguments.command == "list":
            for name, inputs in all_references(REPOSITORY, CATALOGUE, base.identity()).items():
                there = builder.path(inputs.reference) is not None
                print(
                    f"{name:22} {builder.size_bytes(inputs.reference) / 1e6:6.0f} MB"
                    if there
                    else f"{name:22} not built",
                    inputs.reference,
                )
            return 0
        for built in build_images(arguments.names, builder, root):
            how = "unchanged" if built.was_there else f"built in {built.seconds:.1f} s"
            print(f"{built.name}: {how}, {builder.size_bytes(built.reference) / 1e6:.0f} MB", file=sys.stderr)
            print(built.name, built.reference, built.path, flush=True)
    except (ClusterError, MissingInputError, UnknownImageError, UnsupportedInstructionError) as error:
        print(error, file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:
        print(f"{error.cmd[0]} failed with {error.returncode}: its last lines are above", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
