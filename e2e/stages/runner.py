"""Runs stages side by side, shows what each wrote when it ends, and leaves no process and no cluster behind."""

import asyncio
import os
import time
from collections.abc import Sequence
from pathlib import Path

from e2e.cluster.progress import duration
from e2e.stages import process
from e2e.stages.clusters import Clusters
from e2e.stages.plan import Stage, startable, superfluous
from e2e.stages.process import StageFailed
from e2e.stages.report import say

SIGN_OF_LIFE_S = 30


class Run:
    """One run of `stages`, each of which leaves what it wrote in the folder `reports`, as `<stage>.log`."""

    def __init__(self, stages: Sequence[Stage], reports: Path) -> None:
        self.took_s: dict[str, float] = {}
        """How long each stage took that has passed."""
        self.ended: list[str] = []
        """The stages that came to their own end, in the order in which they did."""
        self._stages = stages
        self._reports = reports
        self._clusters = Clusters(reports)
        self._began_s: dict[str, float] = {}
        self._running: dict[asyncio.Task[None], Stage] = {}

    async def to_end(self) -> None:
        """Raises StageFailed of the first stage that fails, once the others have ended and every cluster is down."""
        life = asyncio.create_task(self._show_life())
        try:
            while len(self.took_s) < len(self._stages):
                self._start_what_can()
                done, _ = await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    self._close(self._running.pop(task), task)
            for cluster in list(self._clusters.standing):
                await self._clusters.take_down(cluster)
        finally:
            life.cancel()
            await self._end_the_rest()

    def _start_what_can(self) -> None:
        running = {stage.name for stage in self._running.values()}
        for stage in startable(self._stages, self.took_s.keys(), running):
            say(f"=== {stage.name}: begins (at most {duration(stage.limit_s)})")
            self._began_s[stage.name] = time.monotonic()
            self._running[asyncio.create_task(self._run(stage))] = stage

    async def _run(self, stage: Stage) -> None:
        try:
            environment = dict(os.environ)
            if stage.cluster is not None:
                environment["KUBECONFIG"] = await self._clusters.provide(stage.cluster)
            await process.run(
                f"stage {stage.name}",
                stage.command,
                stage.limit_s,
                environment,
                self._log(stage),
                yields=stage.yields,
            )
        finally:
            for name in stage.starts:
                await self._clusters.down(name)
        passed = self.took_s.keys() | {stage.name}
        for cluster in superfluous(list(self._clusters.standing), self._stages, passed):
            await self._clusters.take_down(cluster)

    def _close(self, stage: Stage, task: asyncio.Task[None]) -> None:
        """Shows what the stage wrote. Raises what ended it."""
        took_s = time.monotonic() - self._began_s[stage.name]
        say(f"\n=== {stage.name}")
        if self._log(stage).exists():
            say(self._log(stage).read_text(errors="replace").rstrip())
        self.ended.append(stage.name)
        task.result()
        self.took_s[stage.name] = took_s
        say(f"=== {stage.name}: passed in {duration(took_s)}\n")

    async def _show_life(self) -> None:
        started_s = time.monotonic()
        while True:
            await asyncio.sleep(SIGN_OF_LIFE_S)
            now_s = time.monotonic()
            names = [stage.name for stage in self._running.values()]
            busy = ", ".join(f"{name} ({duration(now_s - self._began_s[name])})" for name in names)
            say(f"    … after {duration(now_s - started_s)}: {busy}")

    async def _end_the_rest(self) -> None:
        for task, stage in self._running.items():
            say(f"=== {stage.name}: ended early; what it wrote is in {self._log(stage)}")
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        for cluster in list(self._clusters.standing):
            try:
                await self._clusters.take_down(cluster)
            except StageFailed as error:
                say(f"=== {error}")

    def _log(self, stage: Stage) -> Path:
        return self._reports / f"{stage.name}.log"
