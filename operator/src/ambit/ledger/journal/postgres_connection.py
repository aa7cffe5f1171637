"""One connection to PostgreSQL whose every statement has a deadline, and the search for the primary.

libpq's own calls, because no statement may wait for longer than its deadline, not even for a synchronous standby that
is gone; and because a cancelled wait for one is a commit of unknown outcome, which PostgreSQL takes for a mere warning.
"""

import select
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Protocol

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ambit.ledger.journal import JournalError

Value = int | str | bytes | bool | None
_BOOL, _BYTES, _INT, _NAME, _SHORT, _TEXT = 16, 17, 20, 19, 23, 25
"""PostgreSQL's numbers of the types that are used."""
_INTEGERS = (_INT, 21, _SHORT)
_DONE = (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK)
CONNECT_S = 2
"""How long one server may take to be connected to."""


@dataclass(frozen=True, slots=True)
class Server:
    """Which history a server has: `system` is the cluster's identity, `timeline` rises with each promotion."""

    system: int
    timeline: int


class Asking(Protocol):
    """A connection, or a view of one."""

    def ask(self, statement: str, *values: Value) -> list[tuple[Value, ...]]:
        """As `Connection.ask`."""
        ...


class Connection:
    """A connection to one server. After any failure it is closed: whether the statement was done is unknown."""

    def __init__(self, conninfo: str, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._warnings: list[str] = []
        try:
            self._connection = psycopg.connect(conninfo, autocommit=True, connect_timeout=CONNECT_S)
        except psycopg.Error as error:
            raise JournalError(f"PostgreSQL cannot be reached: {_line(str(error))}") from error
        self._libpq = self._connection.pgconn
        self._libpq.notice_handler = self._notice

    def ask(self, statement: str, *values: Value) -> list[tuple[Value, ...]]:
        """The rows of one statement, which is a transaction of its own. Raises JournalError."""
        self._warnings.clear()
        try:
            types, formats = [_type(value) for value in values], [pq.Format.BINARY] * len(values)
            self._libpq.send_query_params(
                statement.encode(), [_encode(value) for value in values], types, formats, pq.Format.BINARY
            )
            rows = self._rows(time.monotonic() + self._deadline_s)
        except (psycopg.Error, OSError) as error:
            self.close()
            raise JournalError(f"PostgreSQL failed: {_line(str(error))}") from error
        except BaseException:
            self.close()
            raise
        if self._warnings:
            self.close()
            raise JournalError(f"PostgreSQL warned, and what it did is unknown: {self._warnings[0]}")
        return rows

    def is_open(self) -> bool:
        """Whether no statement has failed yet."""
        return not self._connection.closed

    def close(self) -> None:
        """Lets go of it."""
        self._connection.close()

    def _rows(self, until_s: float) -> list[tuple[Value, ...]]:
        rows: list[tuple[Value, ...]] = []
        while True:
            while self._libpq.flush():
                self._wait(select.POLLIN | select.POLLOUT, until_s)
                self._libpq.consume_input()
            while self._libpq.is_busy():
                self._wait(select.POLLIN, until_s)
                self._libpq.consume_input()
            result = self._libpq.get_result()
            if result is None:
                return rows
            if result.status not in _DONE:
                raise JournalError(f"PostgreSQL refused: {_line(result.error_message.decode(errors='replace'))}")
            rows.extend(_decoded(result))

    def _wait(self, events: int, until_s: float) -> None:
        poll = select.poll()
        poll.register(self._libpq.socket, events)
        left_s = until_s - time.monotonic()
        if left_s <= 0 or not poll.poll(left_s * 1000):
            raise JournalError(f"PostgreSQL did not answer within {self._deadline_s:g} s")

    def _notice(self, notice: pq.abc.PGresult) -> None:
        severity = (notice.error_field(pq.DiagnosticField.SEVERITY_NONLOCALIZED) or b"").decode()
        if severity not in ("NOTICE", "INFO", "LOG", "DEBUG"):
            message = notice.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or b""
            self._warnings.append(message.decode(errors="replace"))


class Servers:
    """The servers of an address, of which one is the primary; and what was seen of them before."""

    def __init__(self, address: str, password_file: Path | None, deadline_s: float) -> None:
        try:
            self._each = list(_each_server(address))
        except psycopg.Error as error:
            raise JournalError(f"the address of PostgreSQL cannot be read: {_line(str(error))}") from error
        self._password_file = password_file
        self._deadline_s = deadline_s
        self._seen: Server | None = None
        self._seeing = Lock()

    def primary(self) -> Connection:
        """A connection to the primary. Raises JournalError where none answers that is the one known, or its successor.

        After a failover the old primary may be alive: of several the one with the newest timeline is it, and one of an
        older timeline than was seen is none.
        """
        found: list[tuple[Server, Connection]] = []
        causes: list[str] = []
        for conninfo in self._each:
            try:
                connection = Connection(self._with_password(conninfo), self._deadline_s)
            except JournalError as error:
                causes.append(str(error))
                continue
            try:
                found.append((_identify(connection), connection))
            except JournalError as error:
                connection.close()
                causes.append(str(error))
        found.sort(key=lambda each: each[0].timeline)
        for _, connection in found[:-1]:
            connection.close()
        if not found:
            raise JournalError(f"there is no primary: {'; '.join(causes)}")
        server, connection = found[-1]
        with self._seeing:
            seen = self._seen
            if seen is None or (server.system == seen.system and server.timeline >= seen.timeline):
                self._seen = server
                return connection
        connection.close()
        raise JournalError(f"{server} is not what was the primary before ({seen}): an old one, or another's")

    def _with_password(self, conninfo: str) -> str:
        if self._password_file is None:
            return conninfo
        try:
            return make_conninfo(conninfo, password=self._password_file.read_text().strip())
        except OSError as error:
            raise JournalError(f"the file with PostgreSQL's password cannot be read: {error}") from error


def _identify(connection: Connection) -> Server:
    """Raises JournalError where it is no primary."""
    ((recovering,),) = connection.ask("SELECT pg_is_in_recovery()")
    if recovering:
        raise JournalError("it is a standby")
    ((system, timeline),) = connection.ask(
        "SELECT system_identifier, ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint"
        " FROM pg_control_system()"
    )
    return Server(int(system or 0), int(timeline or 0))


def _each_server(address: str) -> Iterable[str]:
    settings = {name: str(value) for name, value in conninfo_to_dict(address).items()}
    hosts = settings.pop("host", "").split(",")
    ports = settings.pop("port", "5432").split(",")
    for number, host in enumerate(hosts):
        port = ports[number] if len(ports) == len(hosts) else ports[0]
        settings.setdefault("application_name", "ambit-ledger")
        yield make_conninfo(**settings, host=host, port=port, client_encoding="UTF8")


def _type(value: Value) -> int:
    match value:
        case bool():
            return _BOOL
        case int():
            return _INT
        case bytes():
            return _BYTES
        case str():
            return _TEXT
        case None:
            return 0


def _encode(value: Value) -> bytes | None:
    match value:
        case bool():
            return b"\1" if value else b"\0"
        case int():
            return value.to_bytes(8, "big", signed=True)
        case str():
            return value.encode()
        case bytes() | None:
            return value


def _decoded(result: pq.abc.PGresult) -> list[tuple[Value, ...]]:
    types = [result.ftype(column) for column in range(result.nfields)]
    return [
        tuple(_decode(result.get_value(row, column), kind) for column, kind in enumerate(types))
        for row in range(result.ntuples)
    ]


def _decode(data: bytes | None, kind: int) -> Value:
    if data is None or kind == _BYTES:
        return data
    if kind == _BOOL:
        return data == b"\1"
    if kind in _INTEGERS:
        return int.from_bytes(data, "big", signed=True)
    if kind in (_TEXT, _NAME):
        return data.decode()
    raise JournalError(f"a value of PostgreSQL's type {kind}, which is not used")


def _line(message: str) -> str:
    return " ".join(message.split())
