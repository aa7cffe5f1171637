"""A PostgreSQL of one's own, for tests and benchmarks: in a folder, on a unix socket there, every commit synced.

`python -m e2e.postgres` installs its programs where they are missing.
"""

import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from e2e.cluster import packages
from e2e.cluster.progress import Progress

USER = "postgres"
STARTS_WITHIN_S = 30


class PostgresMissing(Exception):
    """PostgreSQL's programs are not on this machine."""


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


@contextmanager
def running(folder: Path, *, core: int | None = None) -> Generator[str]:
    """Its address while the block runs; on one core where `core` is given."""
    folder.mkdir(parents=True)
    if os.geteuid() == 0:
        owner = pwd.getpwnam(USER)
        os.chown(folder, owner.pw_uid, owner.pw_gid)
    data = str(folder / "data")
    initialise = as_user(program("initdb"), "--pgdata", data, "--username", USER, "--auth=trust", "--no-sync")
    subprocess.run(initialise, check=True, capture_output=True)
    settings = (
        "listen_addresses=",
        f"unix_socket_directories={folder}",
        "max_connections=300",
        "shared_buffers=256MB",
    )
    pinned = () if core is None else ("taskset", "--cpu-list", str(core))
    server = (*pinned, program("postgres"), "-D", data, *(word for setting in settings for word in ("-c", setting)))
    process = subprocess.Popen(as_user(*server), stderr=subprocess.DEVNULL)
    try:
        wait_until_ready(folder)
        yield f"postgresql://{USER}@/postgres?host={folder}"
    finally:
        process.terminate()
        process.wait()


def wait_until_ready(folder: Path) -> None:
    """Until the server on the socket in `folder` takes connections. Raises TimeoutError."""
    deadline_s = time.monotonic() + STARTS_WITHIN_S
    while subprocess.run((program("pg_isready"), "--quiet", "--host", str(folder)), check=False).returncode != 0:
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"PostgreSQL in {folder} takes no connections")
        time.sleep(0.05)


if __name__ == "__main__":
    packages.require(packages.STORE, Progress())
