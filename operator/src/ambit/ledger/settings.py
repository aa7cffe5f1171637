"""What the ledger process is told by its environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ambit.ledger.journal.sources import POSTGRES
from ambit.settings import SettingsError, positive_number, required

DEFAULT_LISTEN = "0.0.0.0:8090"
DEFAULT_HEALTH_LISTEN = "0.0.0.0:9090"
MAX_PARTITIONS = 64
"""More would only be more heartbeats: partitions are to be some times as many as writers."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The ledger's settings."""

    store: str
    """AMBIT_LEDGER_STORE: the journal in PostgreSQL, `postgres://USER@HOST[,HOST…]/DATABASE`; without it the embedded
    one, in the folder AMBIT_LEDGER_DATA."""
    components: Mapping[str, str]
    """AMBIT_LEDGER_COMPONENTS: the component of each user name, written `component=user,…`."""
    listen: str = DEFAULT_LISTEN
    """AMBIT_LEDGER_LISTEN: where operations are taken, HOST:PORT."""
    health_listen: str = DEFAULT_HEALTH_LISTEN
    """AMBIT_HEALTH_LISTEN: where health and metrics are served, HOST:PORT."""
    partitions: int = 1
    """AMBIT_LEDGER_PARTITIONS: over how many partitions the trees are spread, of which each ledger writes its share.
    More than 1 needs PostgreSQL. It is chosen when the database is made, and does not change."""
    advertise: str | None = None
    """Where the gateway and the operator reach this ledger itself, and its name among the others: AMBIT_LEDGER_HOST,
    its pod's address, with the port of AMBIT_LEDGER_LISTEN. Needed with several partitions only."""
    password_file: Path | None = None
    """AMBIT_LEDGER_STORE_PASSWORD_FILE: the file with PostgreSQL's password, read at each connection."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Settings":
        """Reads them. Raises SettingsError."""
        store = store_of(environ)
        partitions = _partitions(environ, store)
        listen = environ.get("AMBIT_LEDGER_LISTEN", DEFAULT_LISTEN)
        return cls(
            store=store,
            partitions=partitions,
            advertise=None if partitions == 1 else _advertised(environ, listen),
            components=parse_components(environ.get("AMBIT_LEDGER_COMPONENTS", "")),
            listen=listen,
            health_listen=environ.get("AMBIT_HEALTH_LISTEN", DEFAULT_HEALTH_LISTEN),
            password_file=password_file(environ),
        )


def _partitions(environ: Mapping[str, str], store: str) -> int:
    number = positive_number(environ, "AMBIT_LEDGER_PARTITIONS", 1)
    if number > MAX_PARTITIONS:
        raise SettingsError(f"AMBIT_LEDGER_PARTITIONS={number} is too many: write at most {MAX_PARTITIONS}")
    if number > 1 and not store.startswith(POSTGRES):
        raise SettingsError(
            "AMBIT_LEDGER_PARTITIONS is more than 1, which needs AMBIT_LEDGER_STORE: the embedded journal has one"
            " writer"
        )
    return number


def _advertised(environ: Mapping[str, str], listen: str) -> str:
    host = required(environ, "AMBIT_LEDGER_HOST", "10.0.0.7")
    _, _, port = listen.rpartition(":")
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def password_file(environ: Mapping[str, str]) -> Path | None:
    """The file with PostgreSQL's password, where one is named."""
    named = environ.get("AMBIT_LEDGER_STORE_PASSWORD_FILE")
    return Path(named) if named else None


def store_of(environ: Mapping[str, str]) -> str:
    """Where the journal is: a folder, or an address of PostgreSQL. Raises SettingsError."""
    store = environ.get("AMBIT_LEDGER_STORE")
    if not store:
        return required(environ, "AMBIT_LEDGER_DATA", "/var/lib/ambit")
    example = "AMBIT_LEDGER_STORE=postgres://ambit@postgres.example:5432/ambit"
    if not store.startswith(POSTGRES):  # the value is not repeated: it may have a password in it
        raise SettingsError(f"AMBIT_LEDGER_STORE is no address of PostgreSQL; write for example {example}")
    # An address shows up in logs and lists of processes.
    credentials = store.partition("://")[2].partition("/")[0].rpartition("@")[0]
    if ":" in credentials or "password=" in store:
        raise SettingsError(
            "AMBIT_LEDGER_STORE has a password in it; put it in a file, name that in AMBIT_LEDGER_STORE_PASSWORD_FILE, "
            f"and write for example {example}"
        )
    return store


def parse_components(text: str) -> dict[str, str]:
    """`"operator=system:serviceaccount:ns:name,gateway=…"` → component by user name. Raises SettingsError."""
    found: dict[str, str] = {}
    for entry in text.split(","):
        component, separator, user = entry.strip().partition("=")
        if not separator or not component or not user:
            raise SettingsError(
                f"AMBIT_LEDGER_COMPONENTS has {entry!r}: write operator=system:serviceaccount:NAMESPACE:NAME,gateway=…"
            )
        if user in found:
            raise SettingsError(f"AMBIT_LEDGER_COMPONENTS names {user!r} twice: one component for each user")
        found[user] = component
    return found
