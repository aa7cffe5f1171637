"""Prometheus' own checker of rules and queries: taken out of Debian's package, not installed."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path


class PromtoolMissing(Exception):
    """promtool is not there, and Debian's package could not be fetched."""


def promtool() -> Path:
    """The path of `promtool`: the machine's own, or the one in the user's cache, fetched there first."""
    installed = shutil.which("promtool")
    if installed:
        return Path(installed)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ambit" / "prometheus"
    cached = cache / "promtool"
    if cached.exists():
        return cached
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise PromtoolMissing("promtool is not installed: install Prometheus, and see that promtool is on the PATH")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        subprocess.run(["apt-get", "-qq", "update"], check=True)
        subprocess.run(["apt-get", "-qq", "download", "prometheus"], check=True, cwd=folder, stderr=subprocess.DEVNULL)
        (package,) = Path(folder).glob("prometheus_*.deb")
        subprocess.run(["dpkg-deb", "--extract", str(package), folder], check=True)
        (Path(folder) / "usr/bin/promtool").rename(cached)
    return cached
