"""The machine's side of a running cluster: its supervisor, and commands run inside its namespaces."""

import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.cluster import packages
from e2e.cluster.commands import run, wait_until
from e2e.cluster.embedded import supervisor
from e2e.cluster.embedded.layout import Layout
from e2e.cluster.errors import ClusterError, Missing, StepFailed

START_TIMEOUT_S = 30
# Some four seconds on an idle machine; the rest is for one that compiles something else meanwhile.
READY_TIMEOUT_S = 180
# A process that dies more often while it is waited for will not come up.
MAXIMUM_RESTARTS = 5


@dataclass(frozen=True)
class ProcessState:
    running: bool
    starts: int
    log: Path


class Session:
    """A connection to the supervisor of `layout`. Raises ConnectionError where there is none."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.pid = self._supervisor_pid()

    def start(self, name: str, argv: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        """Starts a process that is kept running, unless one of that name was started before."""
        log = self._layout.logs / f"{name}.log"
        answer = self._request(
            {"op": "start", "name": name, "argv": list(argv), "env": self.environment(env), "log": str(log)}
        )
        if "error" in answer:
            raise ClusterError(f"cannot start {name}: {answer['error']}")

    def processes(self) -> dict[str, ProcessState]:
        answer = self._request({"op": "processes"})
        return {
            name: ProcessState(state["running"], state["starts"], Path(state["log"])) for name, state in answer.items()
        }

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The same small environment for every process; the user's own (proxies, GOFLAGS) is none of the cluster's."""
        path = f"{self._layout.binaries}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return {"PATH": path, "HOME": str(self._layout.state)} | dict(extra or {})

    def inside(self, argv: Sequence[str], stdin: str | None = None) -> str:
        """The output of a command run in the cluster's PID and mount namespaces, in the machine's network."""
        return run([*self.entering(), *argv], stdin=stdin, env=self.environment())

    def entering(self) -> list[str]:
        return ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--"]

    def end(self) -> None:
        """Kills the supervisor and with it every process of the cluster; returns when all are gone."""
        handle = os.pidfd_open(self.pid)
        try:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            # Readable once the process has gone, which for the first of a namespace is after all the others.
            select.select([handle], [], [])
        finally:
            os.close(handle)

    def wait(self, processes: Sequence[str], ready: Callable[[], bool]) -> None:
        """Waits until `ready`. Raises StepFailed with the log of that one of `processes` which is in the way."""
        before = self.processes()

        def dying() -> str | None:
            now = self.processes()
            return next((name for name in processes if now[name].starts - before[name].starts > MAXIMUM_RESTARTS), None)

        in_time = wait_until(lambda: dying() is not None or ready(), READY_TIMEOUT_S)
        culprit = dying()
        if culprit is not None:
            raise StepFailed(f"{culprit} keeps dying", before[culprit].log)
        if not in_time:
            raise StepFailed(f"{processes[-1]} was not ready after {READY_TIMEOUT_S} s", before[processes[-1]].log)

    def _supervisor_pid(self) -> int:
        with self._connect() as connection:
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        pid: int = struct.unpack("3i", credentials)[0]
        return pid

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(START_TIMEOUT_S)
        try:
            connection.connect(str(self._layout.supervisor_socket))
        except FileNotFoundError as error:
            connection.close()
            raise ConnectionRefusedError(str(error)) from error
        except OSError:
            connection.close()
            raise
        return connection

    def _request(self, request: dict[str, Any]) -> dict[str, Any]:
        with self._connect() as connection, connection.makefile("rw") as stream:
            stream.write(json.dumps(request) + "\n")
            stream.flush()
            answer: dict[str, Any] = json.loads(stream.readline())
            return answer


def connect(layout: Layout) -> Session | None:
    """The running cluster's session, or None where it is not running. Raises Missing without the right to it."""
    try:
        return Session(layout)
    except ConnectionError:
        return None
    except PermissionError as error:
        raise Missing(f"cluster {layout.name} belongs to root", "run this as root (`sudo -E`)") from error


def begin(layout: Layout) -> Session:
    """Starts a supervisor in namespaces of its own. It lives on when this process ends."""
    log = layout.logs / "supervisor.log"
    argv = [
        *("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--"),
        *(sys.executable, "-I", str(Path(supervisor.__file__).resolve()), str(layout.state)),
    ]
    with log.open("ab") as output:
        starter = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env={"PATH": packages.search_path()},
            start_new_session=True,
        )
    up = wait_until(lambda: connect(layout) is not None or starter.poll() is not None, START_TIMEOUT_S)
    session = connect(layout)
    if not up or session is None:
        starter.kill()
        raise StepFailed("the cluster's supervisor did not start", log)
    return session
