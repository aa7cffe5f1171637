"""What the ledger process is told by its environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ambit.settings import SettingsError, required

DEFAULT_LISTEN = "0.0.0.0:8090"
DEFAULT_HEALTH_LISTEN = "0.0.0.0:9090"


@dataclass(frozen=True, slots=True)
class Settings:
    """The ledger's settings."""

    data: Path
    """AMBIT_LEDGER_DATA: the folder of the journal."""
    components: Mapping[str, str]
    """AMBIT_LEDGER_COMPONENTS: the component of each user name, written `component=user,…`."""
    listen: str = DEFAULT_LISTEN
    """AMBIT_LEDGER_LISTEN: where operations are taken, HOST:PORT."""
    health_listen: str = DEFAULT_HEALTH_LISTEN
    """AMBIT_HEALTH_LISTEN: where health and metrics are served, HOST:PORT."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Settings":
        """Reads them. Raises SettingsError."""
        return cls(
            data=Path(required(environ, "AMBIT_LEDGER_DATA", "/var/lib/ambit")),
            components=parse_components(environ.get("AMBIT_LEDGER_COMPONENTS", "")),
            listen=environ.get("AMBIT_LEDGER_LISTEN", DEFAULT_LISTEN),
            health_listen=environ.get("AMBIT_HEALTH_LISTEN", DEFAULT_HEALTH_LISTEN),
        )


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
