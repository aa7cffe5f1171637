"""The Debian that every image stands on, made here where no registry can be asked for it.

mmdebstrap builds from Debian's archive what `debian:bookworm-slim` holds: the essential packages and apt, without
manuals and locales. It is kept in the cache under a hash of its recipe; delete it there to have today's packages.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Final

REFERENCE: Final = "docker.io/library/debian:bookworm-slim"
"""The name under which Dockerfiles ask for it."""

_RECIPE: Final = (
    "--variant=minbase",
    "--format=tar",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-include=/usr/share/doc/*/copyright",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/info/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--dpkgopt=path-exclude=/usr/share/groff/*",
    "--dpkgopt=path-exclude=/usr/share/lintian/*",
    "bookworm",
)


def identity() -> str:
    """A hash of the recipe: the part of every image's inputs that stands for its base."""
    return hashlib.sha256(json.dumps([REFERENCE, *_RECIPE]).encode()).hexdigest()[:20]


def ensure_archive(folder: Path) -> Path:
    """The base as a tar archive, made if it is not in `folder` yet (about a minute).

    Raises CalledProcessError with mmdebstrap's own words.
    """
    archive = folder / f"debian-bookworm-{identity()}.tar"
    if archive.is_file():
        return archive
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = archive.with_suffix(f".{os.getpid()}")
    try:
        # No time stamps of today, so that the same packages give the same layer.
        environ = os.environ | {"SOURCE_DATE_EPOCH": "0"}
        subprocess.run(["mmdebstrap", "--quiet", *_RECIPE[:-1], _RECIPE[-1], str(unfinished)], env=environ, check=True)
        unfinished.rename(archive)
    finally:
        unfinished.unlink(missing_ok=True)
    return archive
