"""What a benchmark has to know of the machine: its cores, and how long its disk takes to sync."""

import os
import time
from pathlib import Path

SERVER_CORE = 0
LOAD_CORE = 1
SYNCS = 300


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
