"""Bugs that ledgers are known to have, each a patch to production code; its first line says which it is.

They are applied to a copy of the package, never to the checkout.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent.parent.parent
PACKAGES = ("__init__.py", "api", "ledger", "telemetry")
"""Of `ambit`: what the ledger consists of and imports."""


class DoesNotApply(Exception):
    """The code that the patch changes is not there any more: write the patch anew."""


@dataclass(frozen=True, slots=True)
class Found:
    """What the simulation said, and at which seed; None: nothing was found."""

    seed: int | None
    said: str


def names() -> list[str]:
    """The planted bugs."""
    return sorted(path.stem for path in FOLDER.glob("*.patch"))


def plant(name: str, folder: Path) -> Path:
    """Makes a copy of the package under `folder` with the bug in it. Raises DoesNotApply."""
    source = ROOT / "operator" / "src" / "ambit"
    copy = folder / "ambit"
    copy.mkdir(parents=True)
    for each in PACKAGES:
        if (source / each).is_dir():
            shutil.copytree(source / each, copy / each, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source / each, copy / each)
    # Outside of any repository, as git sees it: else it would take the paths to be of the checkout, and skip them.
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(folder.parent)}
    command = ["git", "apply", "--unidiff-zero", str(FOLDER / f"{name}.patch")]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DoesNotApply(f"{name}: {done.stderr.strip()}")
    return folder


def look_for(package: Path, seeds: int) -> Found:
    """Runs default seeds against a copy of the package until one fails."""
    environment = {**os.environ, "PYTHONPATH": f"{package}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "tests.ledger_simulation", "--seeds", str(seeds)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    first = done.stderr.partition("\n")[0]
    if done.returncode == 0 or not first.startswith("seed "):
        return Found(None, done.stdout + done.stderr)
    return Found(int(first.split(" ")[1].rstrip(":")), first)
