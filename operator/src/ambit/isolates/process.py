"""How a shard's process is started, confined by the kernel, and measured."""

import asyncio
import ctypes
import os
import resource
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
"""Numbers of prctl(2)."""

_libc = ctypes.CDLL(None, use_errno=True)
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def hide_own_memory() -> None:
    """Keeps processes of our own user, the shards among them, out of /proc/<our pid>/mem, and ptrace(2) from us."""
    _prctl(PR_SET_DUMPABLE, 0)


async def start_confined(command: list[str], *, memory_bytes: int, file_bytes: int) -> Process:
    """Starts `command` with an empty environment. It dies with us, and is bounded in memory and in each file's size."""
    return await asyncio.create_subprocess_exec(
        *command,
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        env={},
        preexec_fn=_confine(os.getpid(), memory_bytes, file_bytes),
        # Python ignores SIGXFSZ, and the child has to as well: a write beyond RLIMIT_FSIZE then fails (EFBIG, one
        # agent's SQLite error) where the signal would end every agent of the shard.
        restore_signals=False,
    )


def _confine(parent: int, memory_bytes: int, file_bytes: int) -> Callable[[], None]:
    def in_child() -> None:
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the parent died before the line above
            os._exit(1)
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)

    return in_child


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"prctl({option}, {value}): {os.strerror(error)}")


def cpu_ms(pid: int) -> float:
    """CPU time that the process used so far; 0 once it is gone. Steps of 10 ms (proc(5), fields 14 and 15)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / _TICKS_PER_S
