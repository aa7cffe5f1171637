"""What the ledger process is told by its environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ambit.ledger.journal.sources import POSTGRES
from ambit.settings import SettingsError, required

DEFAULT_LISTEN = "0.0.0.0:8090"
DEFAULT_HEALTH_LISTEN = "0.0.0.0:9090"


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
    password_file: Path | None = None
    """AMBIT_LEDGER_STORE_PASSWORD_FILE: the file with PostgreSQL's password, read at each connection."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Settings":
        """Reads them. Raises SettingsError."""
        return cls(
            store=store_of(environ),
            components=parse_components(environ.get("AMBIT_LEDGER_COMPONENTS", "")),
            listen=environ.get("AMBIT_LEDGER_LISTEN", DEFAULT_LISTEN),
            health_listen=environ.get("AMBIT_HEALTH_LISTEN", DEFAULT_HEALTH_LISTEN),
            password_file=password_file(environ),
        )


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
