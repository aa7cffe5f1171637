"""A PostgreSQL of one's own, for tests and benchmarks: in a folder, on a unix socket there, every commit synced.

`python -m e2e.postgres` installs its programs where they are missing.
"""

import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster import packages
from e2e.cluster.progress import Progress

USER = "postgres"
WITHIN_S = 60


class PostgresMissing(Exception):
    """PostgreSQL's programs are not on this machine."""


class NotStarted(Exception):
    """A server did not come up."""


def program(name: str) -> str:
    """The path of one of PostgreSQL's programs. Raises PostgresMissing."""
    for folder in (
        os.environ.get("PATH", ""),
        *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)),
    ):
        if found := shutil.which(name, path=folder):
            return found
    raise PostgresMissing(f"{name} is missing: `apt-get install postgresql`")


def as_user(*command: str) -> Sequence[str]:
    """The command as PostgreSQL's own user where this is root, which it refuses to run as."""
    return (
        command if os.geteuid() != 0 else ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups", *command)
    )


def give_to_user(folder: Path) -> None:
    """Lets PostgreSQL's own user write there, where this is root. Raises PostgresMissing."""
    if os.geteuid() == 0:
        try:
            owner = pwd.getpwnam(USER)
        except KeyError as error:
            raise PostgresMissing(f"there is no user {USER}: `apt-get install postgresql`") from error
        os.chown(folder, owner.pw_uid, owner.pw_gid)


@dataclass
class PostgresServer:
    """One server, of a data folder; reached by a unix socket in `sockets`."""

    data: Path
    sockets: Path
    port: int = 5432
    core: int | None = None
    """The only core it runs on."""
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """What it wrote."""
        return self.data.parent / f"{self.data.name}.log"

    def create(self, settings: str) -> None:
        """Makes its data folder, with these lines of postgresql.conf."""
        done = as_user(program("initdb"), "--pgdata", str(self.data), "--username", USER, "--auth=trust", "--no-sync")
        subprocess.run(done, check=True, capture_output=True, timeout=60)
        with (self.data / "postgresql.conf").open("a") as conf:
            conf.write(f"\nlisten_addresses = ''\n{settings}")

    def start(self) -> None:
        """Starts it, and waits until it takes connections. Raises NotStarted."""
        pinned = () if self.core is None else ("taskset", "--cpu-list", str(self.core))
        settings = ("-c", f"unix_socket_directories={self.sockets}", "-c", f"port={self.port}")
        command = as_user(*pinned, program("postgres"), "-D", str(self.data), *settings)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stderr=log, stdout=log)
        until(self._takes_connections, f"a server at {self.sockets} that takes connections")

    def _takes_connections(self) -> bool:
        if self.process is None or self.process.poll() is not None:
            raise NotStarted(self.log.read_text())
        probe = (program("pg_isready"), "--quiet", "--host", str(self.sockets), "--port", str(self.port))
        return subprocess.run(probe, check=False).returncode == 0

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Ends it: SIGINT a fast shutdown, SIGQUIT at once, as by a crash."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(timeout=30)
            self.process = None

    def sql(self, statement: str) -> str:
        """What psql prints for a statement."""
        command = (program("psql"), "-h", str(self.sockets), "-p", str(self.port), "-U", USER, "-AtX", "-c", statement)
        done = subprocess.run(command, check=True, capture_output=True, timeout=WITHIN_S + 10)
        return done.stdout.decode().strip()

    def promote(self) -> None:
        """Makes a standby the primary. Raises NotStarted."""
        if self.sql(f"SELECT pg_promote(true, {WITHIN_S})") != "t":
            raise NotStarted(f"not promoted within {WITHIN_S} s")


def until(true: Callable[[], bool], what: str) -> None:
    """Waits for what PostgreSQL tells nobody of its own accord. Raises NotStarted."""
    deadline_s = time.monotonic() + WITHIN_S
    while not true():
        if time.monotonic() > deadline_s:
            raise NotStarted(f"not within {WITHIN_S} s: {what}")
        time.sleep(0.02)


@contextmanager
def running(folder: Path, *, core: int | None = None) -> Generator[str]:
    """The address of a server of one's own while the block runs; on one core where `core` is given."""
    folder.mkdir(parents=True)
    give_to_user(folder)
    server = PostgresServer(folder / "data", folder, core=core)
    server.create("max_connections = 300\nshared_buffers = 256MB\n")
    try:
        server.start()
        yield f"postgresql://{USER}@/postgres?host={folder}"
    finally:
        server.stop()


if __name__ == "__main__":
    packages.require(packages.STORE, Progress())
