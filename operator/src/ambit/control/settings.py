"""What the operator is told by its environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ambit.api.quantities import InvalidAmount, parse_duration_ms


class SettingsError(ValueError):
    """A variable is missing or wrong; the message says what to write."""


@dataclass(frozen=True)
class Settings:
    """`AMBIT_*` variables of `ambit operator`."""

    namespace: str
    """AMBIT_NAMESPACE: where the control plane runs, and its keys lie."""
    ledger_url: str
    """AMBIT_LEDGER_URL, for example http://ambit-ledger.ambit-system:8090."""
    ledger_token_file: Path
    """AMBIT_LEDGER_TOKEN_FILE: the projected token with audience `ambit-ledger`."""
    isolate_host_image: str
    """AMBIT_ISOLATE_HOST_IMAGE: what the hosts of SandboxPools run."""
    health_listen: str
    """AMBIT_HEALTH_LISTEN, 0.0.0.0:9090 unless set."""
    start_timeout_ms: int
    """AMBIT_SANDBOX_START_TIMEOUT, 5m unless set: so long may a Sandbox's Pod take to start."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Settings":
        """Raises SettingsError."""
        start_timeout = environ.get("AMBIT_SANDBOX_START_TIMEOUT", "5m")
        try:
            start_timeout_ms = parse_duration_ms(start_timeout)
        except InvalidAmount as wrong:
            raise SettingsError(f"AMBIT_SANDBOX_START_TIMEOUT: {wrong}") from wrong
        return cls(
            namespace=_required(environ, "AMBIT_NAMESPACE", "the control plane's namespace, such as ambit-system"),
            ledger_url=_required(environ, "AMBIT_LEDGER_URL", "such as http://ambit-ledger.ambit-system:8090"),
            ledger_token_file=Path(environ.get("AMBIT_LEDGER_TOKEN_FILE", "/var/run/secrets/ambit.dev/ledger/token")),
            isolate_host_image=_required(environ, "AMBIT_ISOLATE_HOST_IMAGE", "the image ambit-isolate-host"),
            health_listen=environ.get("AMBIT_HEALTH_LISTEN", "0.0.0.0:9090"),
            start_timeout_ms=start_timeout_ms,
        )


def _required(environ: Mapping[str, str], name: str, what: str) -> str:
    value = environ.get(name)
    if not value:
        raise SettingsError(f"{name} is not set; give it {what}")
    return value
