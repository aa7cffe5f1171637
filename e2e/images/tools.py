"""The programs that building without an engine needs, installed where that is possible."""

from dataclasses import replace

from e2e.cluster import packages
from e2e.cluster.errors import Missing
from e2e.cluster.progress import Progress


def ensure_tools() -> None:
    """Installs buildah, mmdebstrap and skopeo where they are missing. Raises Missing or CommandFailed."""
    try:
        packages.require(packages.IMAGES, Progress())
    except Missing as missing:
        raise replace(missing, cure=f"{missing.cure}, or start a docker engine") from missing
