"""What clusters, images and tests need of the machine: packages.txt, installed where that can be done, else named."""

import os
import re
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from e2e.cluster.commands import run, succeeds
from e2e.cluster.errors import Missing
from e2e.cluster.progress import Progress

BUILD = "build"
CONTROL_PLANE = "control-plane"
NODE = "node"
IMAGES = "images"
ALERTS = "alerts"
STORE = "store"
BENCH = "bench"
GO_MINIMUM = (1, 26)


@dataclass(frozen=True)
class Package:
    group: str
    name: str
    probe: str

    def present(self) -> bool:
        module = self.probe.removeprefix("pc:")
        if module != self.probe:
            return shutil.which("pkg-config") is not None and succeeds(["pkg-config", "--exists", module])
        if self.probe.startswith("/"):
            return Path(self.probe).exists()
        return shutil.which(self.probe, path=search_path()) is not None


def search_path() -> str:
    """PATH with the system folders, which a user's shell may lack."""
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


@cache
def catalogue() -> tuple[Package, ...]:
    lines = (Path(__file__).parent / "packages.txt").read_text().splitlines()
    return tuple(Package(*line.split()) for line in lines if line and not line.startswith("#"))


def require(group: str, progress: Progress) -> None:
    """Installs what is missing of `group` with apt where this is root's to do. Raises Missing otherwise."""
    missing = [package.name for package in catalogue() if package.group == group and not package.present()]
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise Missing(f"missing on this machine: {', '.join(missing)}", f"install them ({_advice(missing)})")
    with progress.step(f"apt-get install {' '.join(missing)}"):
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        run(["apt-get", "update", "-qq"], env=environment)
        run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing], env=environment)


def _advice(missing: list[str]) -> str:
    if shutil.which("apt-get") is not None:
        return f"`sudo apt-get install {' '.join(missing)}`"
    return "these are Debian's names; your distribution has the same programs"


def require_go() -> None:
    """Raises Missing unless a recent enough Go is on the PATH."""
    wanted = ".".join(map(str, GO_MINIMUM))
    if shutil.which("go") is None:
        raise Missing("the Go compiler is missing", f"install Go {wanted} or later and put it on the PATH")
    version = run(["go", "env", "GOVERSION"]).strip()
    found = re.match(r"go(\d+)\.(\d+)", version)
    if found and (int(found[1]), int(found[2])) < GO_MINIMUM:
        raise Missing(f"Go is too old ({version})", f"install Go {wanted} or later")
