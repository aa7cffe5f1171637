"""What the operator is told by its environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ambit.api.names import HEALTH_PORT
from ambit.api.quantities import InvalidAmount, parse_duration_ms
from ambit.settings import SettingsError, required


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
            namespace=required(environ, "AMBIT_NAMESPACE", "ambit-system"),
            ledger_url=required(environ, "AMBIT_LEDGER_URL", "http://ambit-ledger.ambit-system:8090"),
            ledger_token_file=Path(environ.get("AMBIT_LEDGER_TOKEN_FILE", "/var/run/secrets/ambit.dev/ledger/token")),
            isolate_host_image=required(
                environ, "AMBIT_ISOLATE_HOST_IMAGE", "registry.example/ambit-isolate-host:0.1.0"
            ),
            health_listen=environ.get("AMBIT_HEALTH_LISTEN", f"0.0.0.0:{HEALTH_PORT}"),
            start_timeout_ms=start_timeout_ms,
        )
