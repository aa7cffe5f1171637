"""Real PostgreSQL servers for tests: a primary, a synchronous standby, restarts and promotions, all in one folder."""

import os
import pwd
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from e2e.postgres import USER, as_user, program

STARTS_WITHIN_S = 30
_SETTINGS = """
listen_addresses = ''
max_connections = 40
shared_buffers = 16MB
wal_level = replica
max_wal_senders = 4
hot_standby = on
fsync = on
synchronous_commit = on
"""


def _run(*command: str) -> None:
    subprocess.run(as_user(*command), check=True, capture_output=True, timeout=60)


@dataclass
class PostgresServer:
    """One server, of a data folder; reached by a unix socket in `sockets`."""

    data: Path
    sockets: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it, and waits until it takes connections."""
        settings = ("-c", f"unix_socket_directories={self.sockets}", "-c", f"port={self.port}")
        log = (self.data.parent / f"{self.data.name}.log").open("ab")
        command = as_user(program("postgres"), "-D", str(self.data), *settings)
        self.process = subprocess.Popen(command, stderr=log, stdout=log)
        self._wait()

    def _wait(self) -> None:
        probe = (program("pg_isready"), "--quiet", "--host", str(self.sockets), "--port", str(self.port))
        until_s = time.monotonic() + STARTS_WITHIN_S
        while subprocess.run(probe, check=False).returncode != 0:
            assert time.monotonic() < until_s, f"no server at {self.sockets}"
            assert self.process is not None
            assert self.process.poll() is None, (self.data.parent / f"{self.data.name}.log").read_text()
            time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Ends it: SIGINT a fast shutdown, SIGQUIT at once, as by a crash."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(timeout=30)
            self.process = None

    def sql(self, statement: str) -> str:
        """What psql prints for a statement."""
        command = (program("psql"), "-h", str(self.sockets), "-p", str(self.port), "-U", USER, "-AtX", "-c", statement)
        done = subprocess.run(command, check=True, capture_output=True, timeout=30)
        return done.stdout.decode().strip()

    def promote(self) -> None:
        """Makes a standby the primary."""
        assert self.sql("SELECT pg_promote(true, 30)") == "t"


@dataclass
class PostgresCluster:
    """Servers that share their sockets' folder, each with a port of its own."""

    folder: Path
    primary: PostgresServer
    servers: list[PostgresServer] = field(default_factory=list[PostgresServer])

    def address(self) -> str:
        """Of every server, as a ledger is told."""
        hosts = ",".join(str(server.sockets) for server in self.servers)
        ports = ",".join(str(server.port) for server in self.servers)
        return f"postgres://{USER}@/postgres?host={hosts}&port={ports}"

    def add_standby(self) -> PostgresServer:
        """A standby that every commit of the primary waits for."""
        standby = PostgresServer(self.folder / "standby", self.primary.sockets, self.primary.port + 1)
        where = ("-h", str(self.primary.sockets), "-p", str(self.primary.port), "-U", USER)
        _run(program("pg_basebackup"), *where, "-D", str(standby.data), "-R", "-X", "stream", "--checkpoint=fast")
        with (standby.data / "postgresql.auto.conf").open("a") as settings:
            connection = f"host={self.primary.sockets} port={self.primary.port} user={USER} application_name=standby"
            settings.write(f"primary_conninfo = '{connection}'\nsynchronous_standby_names = ''\n")
        standby.start()
        self.servers.append(standby)
        self.primary.sql("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
        self.primary.sql("SELECT pg_reload_conf()")
        until_s = time.monotonic() + STARTS_WITHIN_S
        while self.primary.sql("SELECT sync_state FROM pg_stat_replication") != "sync":
            assert time.monotonic() < until_s, "the standby does not follow"
            time.sleep(0.02)
        return standby


@contextmanager
def postgres() -> Generator[PostgresCluster]:
    """A server of one's own while the block runs."""
    # Not pytest's folder: PostgreSQL's own user has to get there, and a socket's path may have 107 bytes.
    with tempfile.TemporaryDirectory(prefix="ambit-pg-") as name:
        folder = Path(name)
        if os.geteuid() == 0:
            owner = pwd.getpwnam(USER)
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        primary = PostgresServer(folder / "primary", folder, 5432)
        _run(program("initdb"), "--pgdata", str(primary.data), "--username", USER, "--auth=trust", "--no-sync")
        with (primary.data / "postgresql.conf").open("a") as settings:
            settings.write(_SETTINGS)
        cluster = PostgresCluster(folder, primary, [primary])
        try:
            primary.start()
            yield cluster
        finally:
            for server in cluster.servers:
                server.stop(signal.SIGQUIT)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
