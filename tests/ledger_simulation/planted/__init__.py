"""Bugs that ledgers are known to have, each a patch to production code; its first line says which it is.

They are applied to a copy of the package, never to the checkout.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent.parent.parent
PACKAGE = ROOT / "operator" / "src" / "ambit"


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
    shutil.copytree(PACKAGE, folder / "ambit", ignore=shutil.ignore_patterns("__pycache__"))
    for file, text in patched(name).items():
        (folder / "ambit" / file).write_text(text)
    return folder


def patched(name: str) -> dict[str, str]:
    """The files that the patch changes, by their paths in the package, with the bug in them. Raises DoesNotApply."""
    found: dict[str, str] = {}
    for file, before, after in _hunks((FOLDER / f"{name}.patch").read_text()):
        text = found.get(file) or (PACKAGE / file).read_text()
        if text.count(before) != 1:
            raise DoesNotApply(f"{name}: {file} has {text.count(before)} times:\n{before}")
        found[file] = text.replace(before, after)
    return found


def _hunks(patch: str) -> Iterator[tuple[str, str, str]]:
    """File, text before, text after. Found by its text and not by its line: the code around it may change."""
    for part in patch.split("\n--- a/ambit/")[1:]:
        file, *hunks = re.split(r"^@@.*\n", part, flags=re.MULTILINE)
        for hunk in hunks:
            lines = [line for line in hunk.splitlines(keepends=True) if line[:1] in " +-"]
            before, after = ("".join(line[1:] for line in lines if line[0] in signs) for signs in (" -", " +"))
            yield file.partition("\n")[0], before, after


def look_for(package: Path, seeds: int) -> Found:
    """Runs default seeds against a copy of the package until one fails."""
    environment = {**os.environ, "PYTHONPATH": f"{package}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "tests.ledger_simulation", "--seeds", str(seeds)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    first = done.stderr.partition("\n")[0]
    if done.returncode == 0 or not first.startswith("seed "):
        return Found(None, done.stdout + done.stderr)
    return Found(int(first.split(" ")[1].rstrip(":")), first)
