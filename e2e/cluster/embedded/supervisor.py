"""The first process of a cluster's PID and mount namespaces. When it dies, the kernel ends all that it started.

Run as a program of its own, `supervisor.py STATE_FOLDER`, under `unshare --pid --mount --fork`. It makes the mount
namespace private, reaps orphans, starts processes when told to, and starts them again when they die, as systemd would
on a real node. Requests and answers are single lines of JSON on the unix socket STATE_FOLDER/supervisor.sock:

    {"op": "start", "name": …, "argv": […], "env": {…}, "log": …}   →  {"started": true or false}
    {"op": "processes"}                                           →  {NAME: {"running": …, "starts": …, "log": …}}
"""

import contextlib
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESTART_DELAY_S = 1.0
SOCKET_NAME = "supervisor.sock"


@dataclass
class Process:
    argv: list[str]
    env: dict[str, str]
    log: str
    pid: int = 0
    starts: int = 0
    restart_at_s: float = 0.0

    def start(self) -> None:
        program = shutil.which(self.argv[0], path=self.env["PATH"])
        if program is None:
            raise FileNotFoundError(f"no {self.argv[0]} in {self.env['PATH']}")
        append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self.pid = os.posix_spawn(
            program,
            self.argv,
            self.env,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, self.log, append, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=[signal.SIGCHLD, signal.SIGPIPE],
        )
        self.starts += 1


class Supervisor:
    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._processes: dict[str, Process] = {}
        self._woken, wake = socket.socketpair()
        for end in (self._woken, wake, listener):
            end.setblocking(False)
        signal.set_wakeup_fd(wake.fileno())
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        self._wake = wake

    def serve(self) -> None:
        selector = selectors.DefaultSelector()
        selector.register(self._listener, selectors.EVENT_READ)
        selector.register(self._woken, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select(self._until_next_restart_s()):
                if key.fileobj is self._listener:
                    self._answer()
                else:
                    self._woken.recv(4096)
            self._reap()
            self._restart()

    def _answer(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            connection.settimeout(5)
            # A client that goes away or talks nonsense is its own problem, never the cluster's.
            with contextlib.suppress(OSError, ValueError, KeyError), connection.makefile("rw") as stream:
                request = json.loads(stream.readline())
                stream.write(json.dumps(self._perform(request)) + "\n")
                stream.flush()

    def _perform(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["op"] == "processes":
            return {
                name: {"running": process.pid != 0, "starts": process.starts, "log": process.log}
                for name, process in self._processes.items()
            }
        name: str = request["name"]
        if name in self._processes:
            return {"started": False}
        process = Process(request["argv"], request["env"], request["log"])
        try:
            process.start()
        except OSError as error:
            return {"error": str(error)}
        self._processes[name] = process
        return {"started": True}

    def _reap(self) -> None:
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for process in self._processes.values():
                if process.pid == pid:
                    process.pid = 0
                    process.restart_at_s = time.monotonic() + RESTART_DELAY_S

    def _restart(self) -> None:
        for process in self._processes.values():
            if process.pid == 0 and time.monotonic() >= process.restart_at_s:
                try:
                    process.start()
                except OSError as error:
                    print(f"cannot start {process.argv[0]}: {error}", file=sys.stderr, flush=True)
                    process.restart_at_s = time.monotonic() + RESTART_DELAY_S

    def _until_next_restart_s(self) -> float | None:
        due = [process.restart_at_s for process in self._processes.values() if process.pid == 0]
        return max(0.0, min(due) - time.monotonic()) if due else None


def isolate_mounts(state: Path) -> None:
    """Private folders over those that node software writes to by habit, so that none of it reaches the machine's."""

    def mount(*arguments: str) -> None:
        subprocess.run(["mount", *arguments], check=True)

    mount("--make-rprivate", "/")
    mount("-t", "proc", "proc", "/proc")
    mount("-t", "tmpfs", "-o", "mode=755", "ambit", "/run")
    aside = Path("/run/state")
    aside.mkdir()
    mount("--bind", str(state), str(aside))
    for folder in ("/var/lib", "/var/log"):
        mount("-t", "tmpfs", "-o", "mode=755", "ambit", folder)
    state.mkdir(parents=True)
    mount("--move", str(aside), str(state))
    aside.rmdir()
    # Kubelets have mount namespaces of their own; what they mount for pods must reach the runtime.
    mount("--make-rshared", str(state))
    Path("/run/netns").mkdir()
    mount("--make-rshared", "/run")


def main() -> None:
    state = Path(sys.argv[1])
    os.umask(0o022)
    isolate_mounts(state)
    listener = socket.socket(socket.AF_UNIX)
    path = state / SOCKET_NAME
    path.unlink(missing_ok=True)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(64)
    Supervisor(listener).serve()


if __name__ == "__main__":
    main()
