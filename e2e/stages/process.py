"""A command that runs beside others: its output goes to a file, and nothing of it outlives its time."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from e2e.cluster.progress import duration
from e2e.stages.report import ROOT

KILL_GRACE_S = 20
LEAST_NICE = 19


class StageFailed(Exception):
    """A command of the run exited with another code than 0, or ran out of time."""


async def run(
    name: str,
    command: Sequence[str],
    limit_s: float,
    environment: Mapping[str, str],
    log: Path,
    *,
    yields: bool = False,
) -> None:
    """Runs `command` in a process group of its own and adds what it writes to `log`. Raises StageFailed.

    Whatever ends the wait, being cancelled included, the group has ended before this returns. One that `yields` gets
    only the processor time that nobody else wants.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=ROOT,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_start_yielding if yields else _hear_sigint,
        )
    try:
        async with asyncio.timeout(limit_s):
            code = await process.wait()
    except TimeoutError:
        raise StageFailed(f"{name} was out of time after {duration(limit_s)}") from None
    finally:
        await _end(process)
    if code != 0:
        raise StageFailed(f"{name} failed with exit code {code}")


def _hear_sigint() -> None:
    """A shell has what it starts in the background ignore SIGINT: no stage of such a run could be ended politely."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _start_yielding() -> None:
    _hear_sigint()
    os.nice(LEAST_NICE)
    # Where the kernel groups processes by session, niceness counts only among those of the session, which is this
    # stage; that of the group has a file of its own.
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(LEAST_NICE))


async def _end(process: asyncio.subprocess.Process) -> None:
    """Ends what is still running: politely, so that it takes down what it started, then all of the group for good."""
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGINT)
        with suppress(TimeoutError):
            async with asyncio.timeout(KILL_GRACE_S):
                await process.wait()
    with suppress(ProcessLookupError):  # the group is empty, as it should be
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
