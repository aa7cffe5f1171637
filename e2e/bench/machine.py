"""What a benchmark has to know of the machine: its cores, how long its disk takes to sync, who else uses it."""

import os
import time
from pathlib import Path

SERVER_CORE = 0
LOAD_CORE = 1
SYNCS = 300
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_IDLE = (3, 4)
"""The places of idling and of waiting for a disk among a core's times."""


def pin(core: int) -> None:
    """Keeps this process, and all that it starts, on one core; on a machine of one core, on that."""
    allowed = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {allowed[min(core, len(allowed) - 1)]})


def device_sync_p50_ms(folder: Path) -> float:
    """The median time of an fdatasync after 4 KiB were appended to a file in `folder`."""
    path = folder / "sync-probe"
    took_ms: list[float] = []
    with path.open("wb", buffering=0) as file:
        for _ in range(SYNCS):
            file.write(bytes(4096))
            began_s = time.perf_counter()
            os.fdatasync(file.fileno())
            took_ms.append((time.perf_counter() - began_s) * 1000)
    path.unlink()
    return sorted(took_ms)[SYNCS // 2]


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of the values lie. `values` is not empty."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


class Others:
    """How many cores the rest of the machine keeps busy, beside this process and all that it started."""

    def __init__(self) -> None:
        self._began_s = time.perf_counter()
        self._before_s = _busy_s() - _used_s()

    def cores(self) -> float:
        """On average since this was made. The kernel's own work for us counts as others'."""
        return max(_busy_s() - _used_s() - self._before_s, 0.0) / (time.perf_counter() - self._began_s)


def _busy_s() -> float:
    """What all cores together have worked, for whomever."""
    ticks = [int(each) for each in Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]]
    return (sum(ticks) - sum(ticks[place] for place in _IDLE)) * _TICK_S


def _used_s() -> float:
    """What this process, those that it started, and theirs have worked, those included that have ended."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            said = (folder / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended since
        parents[int(folder.name)], ticks[int(folder.name)] = int(said[1]), sum(map(int, said[11:15]))
    ours = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in ours and pid not in ours}:
        ours |= more
    return sum(ticks[pid] for pid in ours) * _TICK_S
