"""A Redis of a benchmark's own: every write synced before its answer, on a port of this machine alone."""

import shutil
import socket
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from e2e.bench.machine import SERVER_CORE

STARTS_WITHIN_S = 10


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(folder: Path) -> Generator[str]:
    """Its address, HOST:PORT, while the block runs. Raises FileNotFoundError where Redis is not installed."""
    program = shutil.which("redis-server")
    if program is None:
        raise FileNotFoundError("redis-server is missing: `apt-get install redis-server`")
    folder.mkdir(parents=True)
    port = free_port()
    settings = {
        "bind": "127.0.0.1",
        "port": str(port),
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
    }
    arguments = [word for name, value in settings.items() for word in (f"--{name}", value)]
    pinned = ["taskset", "--cpu-list", str(SERVER_CORE)]
    process = subprocess.Popen([*pinned, program, *arguments], stdout=subprocess.DEVNULL)
    try:
        wait_until_it_listens(port)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def wait_until_it_listens(port: int) -> None:
    """Raises TimeoutError."""
    deadline_s = time.monotonic() + STARTS_WITHIN_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except ConnectionRefusedError:
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"nothing listens on port {port}") from None
            time.sleep(0.05)
