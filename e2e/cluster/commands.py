"""Running other programs."""

import subprocess
import time
from collections.abc import Callable, Collection, Mapping, Sequence

from e2e.cluster.errors import CommandFailed

POLL_S = 0.1


def run(
    argv: Sequence[str],
    *,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    accepted: Collection[int] = (0,),
) -> str:
    """The command's stdout. Raises CommandFailed, with stdout and stderr, if its exit code is not `accepted`."""
    done = subprocess.run(argv, input=stdin, env=env, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode not in accepted:
        raise CommandFailed(tuple(argv), done.returncode, done.stderr + done.stdout)
    return done.stdout


def succeeds(argv: Sequence[str], env: Mapping[str, str] | None = None) -> bool:
    """Whether the command exits with 0; for conditions that a command tells by its exit code."""
    return subprocess.run(argv, env=env, capture_output=True, check=False).returncode == 0


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Polls `condition` until it holds (True) or `timeout_s` have passed (False)."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True
