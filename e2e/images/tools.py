"""The programs that building without an engine needs, installed where that is possible."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Final

_PACKAGES: Final = ("buildah", "mmdebstrap", "skopeo")
"""Each a Debian package and the program in it."""


class MissingToolsError(Exception):
    """What is missing, and the one thing to do about it."""


def ensure_tools() -> None:
    """Install buildah, mmdebstrap and skopeo with apt where they are missing.

    Raises MissingToolsError where that cannot be done.
    """
    missing = [package for package in _PACKAGES if shutil.which(package) is None]
    if not missing:
        return
    command = f"apt-get install --no-install-recommends {' '.join(missing)}"
    if shutil.which("apt-get") is None:
        raise MissingToolsError(
            f"building images needs {', '.join(missing)}, or a running docker engine: install one of them"
        )
    if os.geteuid() != 0:
        raise MissingToolsError(
            f"building images needs {', '.join(missing)}: run `sudo {command}`, or start a docker engine"
        )
    environ = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for step in (["update", "-qq"], ["install", "-qq", "--no-install-recommends", *missing]):
        done = subprocess.run(["apt-get", *step], env=environ, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            raise MissingToolsError(f"`{command}` failed: {said[-1]}")
