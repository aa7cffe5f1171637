"""What every provider offers, and which one is taken."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from e2e.cluster.commands import succeeds
from e2e.cluster.errors import Missing

MAXIMUM_NODES = 2
PROVIDERS = ("embedded", "kind", "current")


@dataclass(frozen=True)
class Wanted:
    """What `up` brings about. `nodes`: real ones, 0 to 2; `fake_nodes`: simulated by kwok, beside them."""

    nodes: int
    fake_nodes: int


@dataclass(frozen=True)
class Component:
    """A line of `status`. `detail` says what is wrong, or where it is."""

    name: str
    healthy: bool
    detail: str


class Provider(Protocol):
    """One cluster, by its name. Methods raise ClusterError."""

    def up(self, wanted: Wanted) -> None:
        """Starts what is missing of `wanted`, and waits until it can be used. Does nothing twice."""
        ...

    def down(self) -> None:
        """Removes the cluster and all it left on the machine. Nothing to do is no error."""
        ...

    def status(self) -> list[Component]:
        """The cluster's parts and their health; empty if it is not there."""
        ...

    def load(self, images: list[str]) -> None:
        """Puts images where the nodes find them: paths of OCI archives or layouts, or names in local storage."""
        ...

    def kubeconfig(self) -> Path:
        """The path of a kubeconfig whose current context is this cluster. Raises NotRunning."""
        ...


def choose(provider: str | None) -> str:
    """`provider` if it is given, else kind where it and a Docker engine are, else embedded. Never `current` unasked."""
    if provider is not None:
        return provider
    tools = shutil.which("docker") is not None and shutil.which("kind") is not None
    return "kind" if tools and succeeds(["docker", "info"]) else "embedded"


def checked_name(name: str) -> str:
    """`name`, if bridges, folders, cgroups and contexts can be named by it. Raises Missing."""
    if not re.fullmatch(r"[a-z]([-a-z0-9]{0,30}[a-z0-9])?", name):
        raise Missing(
            f"{name!r} cannot name a cluster", "use at most 32 lower-case letters, digits and dashes, letter first"
        )
    return name
