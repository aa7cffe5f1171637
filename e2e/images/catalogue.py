"""Which images there are, and in which order they are built."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[2]
"""The root of the checkout."""

REGISTRY: Final = "ambit.dev"
"""What every reference starts with. Nothing is pulled from there: images are loaded into the cluster's nodes."""


@dataclass(frozen=True, slots=True)
class Image:
    """One image.

    `dockerfile` and `context` are relative to the repository's root. `bases` names, for a build argument of the
    Dockerfile, the image of ours that it stands for. `target` is the stage that is the image; None: the last one.
    """

    name: str
    dockerfile: str
    context: str
    bases: Mapping[str, str] = field(default_factory=dict[str, str])
    target: str | None = None


CATALOGUE: Final[tuple[Image, ...]] = (
    Image("ambit", "sandbox-images/Dockerfile", ".", target="ambit"),
    Image("ambit-isolate-host", "sandbox-images/Dockerfile", ".", target="isolate-host"),
    Image("ambit-workspace", "sandbox-images/workspace/Dockerfile", "sandbox-images/workspace"),
    Image("test-model-server", "tests/model_server/Dockerfile", ".", {"AMBIT": "ambit"}),
    Image("example-coder", "examples/coder/Dockerfile", "examples/coder", {"WORKSPACE": "ambit-workspace"}),
    Image("example-model-server", "examples/model-server/Dockerfile", "examples/model-server"),
)


class UnknownImageError(Exception):
    """A name that is not in the catalogue."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        super().__init__(f"there is no image {name!r}; there are: {', '.join(sorted(known))}")


def in_build_order(names: Iterable[str], catalogue: Iterable[Image] = CATALOGUE) -> tuple[Image, ...]:
    """The named images (all, where none is named) and those of ours that they are built on, each after its bases."""
    by_name = {image.name: image for image in catalogue}
    ordered: dict[str, Image] = {}

    def add(name: str) -> None:
        if name not in by_name:
            raise UnknownImageError(name, by_name)
        for base in by_name[name].bases.values():
            add(base)
        ordered[name] = by_name[name]

    for name in tuple(names) or tuple(by_name):
        add(name)
    return tuple(ordered.values())
