"""`python -m e2e.stages [NAME…]`: see the package's docstring."""

import asyncio
import shutil
import signal
import sys
import time
from collections.abc import Sequence

from e2e.cluster.progress import duration
from e2e.stages.catalogue import STAGES
from e2e.stages.process import StageFailed
from e2e.stages.report import REPORTS, say, summary
from e2e.stages.runner import Run


def main(names: Sequence[str]) -> int:
    unknown = set(names) - {stage.name for stage in STAGES}
    if unknown:
        say(f"no such stage: {', '.join(sorted(unknown))}; there are {', '.join(s.name for s in STAGES)}")
        return 2
    shutil.rmtree(REPORTS, ignore_errors=True)
    run = Run([stage for stage in STAGES if not names or stage.name in names], REPORTS)
    started_s = time.monotonic()
    failure: StageFailed | None = None
    try:
        asyncio.run(_until_ended(run))
    except StageFailed as error:
        failure = error
    except (KeyboardInterrupt, asyncio.CancelledError):
        failure = StageFailed("ended from outside")
    say(f"\n=== {failure or 'all stages passed'} ({duration(time.monotonic() - started_s)} in all)")
    for name, took_s in run.took_s.items():
        say(f"{name}: {duration(took_s)}")
    for line in filter(None, map(summary, run.ended)):
        say(line)
    return 1 if failure else 0


async def _until_ended(run: Run) -> None:
    """To its end, or until SIGTERM or Ctrl-C, which end it as a failure does."""
    task = asyncio.ensure_future(run.to_end())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await task


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
