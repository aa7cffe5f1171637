"""What may run next, and which cluster has to stand for it. Pure."""

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass


@dataclass(frozen=True)
class ClusterNeed:
    """A cluster of this run: its name, and its number of nodes (0: a control plane alone)."""

    name: str
    nodes: int

    def __str__(self) -> str:
        return f"cluster {self.name} ({self.nodes or 'no'} node{'' if self.nodes == 1 else 's'})"


@dataclass(frozen=True)
class Stage:
    """One step: `command` must exit with 0 within `limit_s` seconds.

    `lane`: stages of one lane never run at the same time. `after`: names of stages that must have passed before.
    `starts`: names of clusters that the stage itself starts; they are taken down should it be killed.
    `yields`: it computes for long and nothing in it is timed, and has only the time that the others leave.
    """

    name: str
    command: Sequence[str]
    limit_s: int
    lane: str
    after: Sequence[str] = ()
    cluster: ClusterNeed | None = None
    starts: Sequence[str] = ()
    yields: bool = False


def startable(stages: Sequence[Stage], passed: Set[str], running: Set[str]) -> list[Stage]:
    """The stages to start now, in their order: of each lane that is free the first that is left, if its time has come.

    What a stage comes after counts only where it is one of `stages`: whoever asks for one stage gets that one alone.
    """
    asked_for = {stage.name for stage in stages}
    taken = {stage.lane for stage in stages if stage.name in running}
    found: list[Stage] = []
    for stage in stages:
        if stage.name in passed or stage.lane in taken:
            continue
        taken.add(stage.lane)  # a lane keeps its order: what stands later in it waits, too
        if asked_for.intersection(stage.after) <= passed:
            found.append(stage)
    return found


def superfluous(standing: Iterable[ClusterNeed], stages: Sequence[Stage], passed: Set[str]) -> list[ClusterNeed]:
    """Those of the `standing` clusters that no stage needs any more."""
    needed = {stage.cluster for stage in stages if stage.name not in passed}
    return [cluster for cluster in standing if cluster not in needed]
