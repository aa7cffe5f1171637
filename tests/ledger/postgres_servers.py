"""Real PostgreSQL servers for tests: a primary, a synchronous standby, restarts and promotions, all in one folder."""

import signal
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from e2e.postgres import USER, PostgresServer, as_user, give_to_user, program, until

_SETTINGS = """
max_connections = 40
shared_buffers = 16MB
wal_level = replica
max_wal_senders = 4
hot_standby = on
fsync = on
synchronous_commit = on
"""


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
        copy = as_user(
            program("pg_basebackup"), *where, "-D", str(standby.data), "-R", "-X", "stream", "--checkpoint=fast"
        )
        subprocess.run(copy, check=True, capture_output=True, timeout=60)
        with (standby.data / "postgresql.auto.conf").open("a") as settings:
            connection = f"host={self.primary.sockets} port={self.primary.port} user={USER} application_name=standby"
            settings.write(f"primary_conninfo = '{connection}'\nsynchronous_standby_names = ''\n")
        standby.start()
        self.servers.append(standby)
        self.primary.sql("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
        self.primary.sql("SELECT pg_reload_conf()")
        follows = "SELECT sync_state FROM pg_stat_replication"
        until(lambda: self.primary.sql(follows) == "sync", "a standby that every commit waits for")
        return standby


@contextmanager
def postgres() -> Generator[PostgresCluster]:
    """A server of one's own while the block runs."""
    # Not pytest's folder: PostgreSQL's own user has to get there, and a socket's path may have 107 bytes.
    with tempfile.TemporaryDirectory(prefix="ambit-pg-") as name:
        folder = Path(name)
        give_to_user(folder)
        primary = PostgresServer(folder / "primary", folder)
        primary.create(_SETTINGS)
        cluster = PostgresCluster(folder, primary, [primary])
        try:
            primary.start()
            yield cluster
        finally:
            for server in cluster.servers:
                server.stop(signal.SIGQUIT)
