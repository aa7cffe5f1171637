"""The clusters of a run: each is brought up for the first stage that needs it, and taken down after the last."""

import asyncio
import os
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from e2e.cluster.progress import duration
from e2e.stages import process
from e2e.stages.plan import ClusterNeed
from e2e.stages.report import ROOT, say

UP_LIMIT_S = 300
DOWN_LIMIT_S = 120


class Clusters:
    """Those that stand, or may stand in part."""

    def __init__(self, reports: Path) -> None:
        self._reports = reports
        self.standing: dict[ClusterNeed, str | None] = {}
        """Each one's kubeconfig; None while it comes up."""
        self._changes: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def provide(self, cluster: ClusterNeed) -> str:
        """Brings it up where it does not stand; returns the path of its kubeconfig."""
        async with self._changes[cluster.name]:
            kubeconfig = self.standing.get(cluster)
            if kubeconfig is None:
                started_s = time.monotonic()
                self.standing[cluster] = None
                await self._call(cluster.name, UP_LIMIT_S, "up", "--nodes", str(cluster.nodes))
                kubeconfig = self.standing[cluster] = await _kubeconfig(cluster.name)
                say(f"    {cluster}: up in {duration(time.monotonic() - started_s)}")
            return kubeconfig

    async def take_down(self, cluster: ClusterNeed) -> None:
        async with self._changes[cluster.name]:
            if cluster in self.standing:
                await self.down(cluster.name)
                del self.standing[cluster]

    async def down(self, name: str) -> None:
        """Takes the cluster down, whoever has started it; where there is none, nothing happens."""
        await self._call(name, DOWN_LIMIT_S, "down")

    async def _call(self, name: str, limit_s: float, verb: str, *arguments: str) -> None:
        log = self._reports / f"cluster-{name}.log"
        what = f"{verb} of cluster {name} (see {log})"
        await process.run(what, [*_command(verb, name), *arguments], limit_s, os.environ, log)


async def _kubeconfig(name: str) -> str:
    asked = await asyncio.create_subprocess_exec(
        *_command("kubeconfig", name), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await asked.communicate()
    if asked.returncode != 0:
        raise process.StageFailed(f"cluster {name} has no kubeconfig")
    return said.decode().strip()


def _command(verb: str, name: str) -> Sequence[str]:
    return [sys.executable, "-m", "e2e.cluster", verb, "--name", name]
