"""An image's inputs and their hash, which is its tag.

Only what is hashed reaches the build: the builder gets a folder with exactly these files as its context. So a tag
cannot be right by luck.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from e2e.images.catalogue import REGISTRY, Image
from e2e.images.dockerfile import copied_sources

_FORMAT: Final = 3
"""Raised when the way of building changes so that equal inputs give another image."""

_NEVER: Final = ("__pycache__", "node_modules", ".git", ".venv")
"""Folders that are products of others or not for images."""


class MissingInputError(Exception):
    """A COPY whose source is not there."""


@dataclass(frozen=True, slots=True)
class ContextFile:
    """A file of the context: its path relative to it, whether it can be run, and what was in it when it was read.

    The content is read once, so that an edit during a build cannot come under the hash of what was there before.
    """

    path: str
    executable: bool
    content: bytes


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that goes into an image.

    `base` identifies the Debian below it, `build_args` are references of our own images below it.
    """

    image: Image
    dockerfile: str
    files: tuple[ContextFile, ...]
    base: str
    build_args: Mapping[str, str]

    @property
    def tag(self) -> str:
        """20 hexadecimal digits, the same for the same inputs wherever they lie."""
        described = {
            "format": _FORMAT,
            "base": self.base,
            "dockerfile": self.dockerfile,
            "target": self.image.target,
            "buildArgs": dict(self.build_args),
            "files": [[file.path, file.executable, hashlib.sha256(file.content).hexdigest()] for file in self.files],
        }
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:20]

    @property
    def reference(self) -> str:
        """The full name by which the image is built, loaded, and used in manifests."""
        return f"{REGISTRY}/{self.image.name}:{self.tag}"


def read_inputs(repository: Path, image: Image, base: str, build_args: Mapping[str, str]) -> Inputs:
    """Read an image's Dockerfile and find the files that it copies. Raises MissingInputError where one is not there."""
    path = repository / image.dockerfile
    if not path.is_file():
        raise MissingInputError(f"image {image.name}: there is no {image.dockerfile}")
    text = path.read_text()
    context = repository / image.context
    sources = copied_sources(text, image.target)
    files = {file.path: file for source in sources for file in _matching(context, source, image)}
    return Inputs(image, text, tuple(files[path] for path in sorted(files)), base, build_args)


def all_references(repository: Path, images: Iterable[Image], base: str) -> dict[str, Inputs]:
    """The inputs of images given in build order, each knowing the references of those it is built on."""
    known: dict[str, Inputs] = {}
    for image in images:
        build_args = {argument: known[name].reference for argument, name in image.bases.items()}
        known[image.name] = read_inputs(repository, image, base, build_args)
    return known


def stage_context(inputs: Inputs, folder: Path) -> None:
    """Lay the context out in an empty folder."""
    for file in inputs.files:
        target = folder / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.content)
        target.chmod(0o755 if file.executable else 0o644)


def _matching(context: Path, source: str, image: Image) -> Iterator[ContextFile]:
    found = sorted(context.glob(source.strip("/"))) if source.strip("/.") else [context]
    if not found:
        raise MissingInputError(
            f"image {image.name}: {image.dockerfile} copies {source!r}, which is not in {image.context!r}"
        )
    for path in found:
        for file in _files_under(path):
            yield ContextFile(file.relative_to(context).as_posix(), os.access(file, os.X_OK), file.read_bytes())


def _files_under(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    for child in sorted(path.iterdir()):
        if child.name not in _NEVER:
            yield from _files_under(child)
