"""The gateway's settings, from `AMBIT_*` environment variables; each is read here and nowhere else."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ambit.api.names import GATEWAY, HEALTH_PORT, ISOLATE_HOST_GATEWAY_PORT, PEOPLE_PORT, SANDBOX_PORT
from ambit.gateway import workers
from ambit.settings import SettingsError, on_or_off, positive_number, required
from ambit.telemetry import documentation


@dataclass(frozen=True, slots=True)
class Settings:
    """What the gateway process is told."""

    namespace: str
    """`AMBIT_NAMESPACE`: where the control plane lives."""
    service_account: str
    """`AMBIT_SERVICE_ACCOUNT`: the gateway's own, named in the command that grants it a namespace's Secrets."""
    ledger_url: str
    """`AMBIT_LEDGER_URL`."""
    ledger_token_file: Path
    """`AMBIT_LEDGER_TOKEN_FILE`: a projected token with audience `ambit-ledger`."""
    trust_dir: Path
    """`AMBIT_TRUST`: the folder with `session-signer.pem`, `gateway-signer.pem`, `gateway-ca.pem`."""
    signer_dir: Path
    """`AMBIT_GATEWAY_SIGNER`: the folder with `private.pem`, for tokens to isolate hosts."""
    tls_dir: Path
    """`AMBIT_GATEWAY_TLS`: the folder with `tls.crt` and `tls.key`, for people."""
    pod_name: str
    """`AMBIT_POD_NAME`, else `HOSTNAME` (a pod's name): by it this replica knows the sessions that it opened."""
    sandbox_listen: str = f"0.0.0.0:{SANDBOX_PORT}"
    """`AMBIT_SANDBOX_LISTEN`."""
    isolate_listen: str = f"0.0.0.0:{ISOLATE_HOST_GATEWAY_PORT}"
    """`AMBIT_ISOLATE_LISTEN`."""
    people_listen: str = f"0.0.0.0:{PEOPLE_PORT}"
    """`AMBIT_PEOPLE_LISTEN`."""
    health_listen: str = f"0.0.0.0:{HEALTH_PORT}"
    """`AMBIT_HEALTH_LISTEN`."""
    log_level: str = "INFO"
    """`AMBIT_LOG_LEVEL`."""
    docs_url: str = documentation.IN_THE_SOURCE
    """`AMBIT_DOCS_URL`: what the links in refusals begin with."""
    hold_expires_in_ms: int = 120_000
    """`AMBIT_CALL_HOLD_MS`: how long a call's hold outlives its gateway at most; it is moved while the call goes on."""
    silence_ms: int = 600_000
    """`AMBIT_UPSTREAM_SILENCE_MS`: how long a model's server may say nothing."""
    drain_ms: int = 30_000
    """`AMBIT_DRAIN_MS`: how long calls go on after SIGTERM before they are cut."""

    lame_duck_ms: int = 3_000
    """`AMBIT_LAME_DUCK_MS`: how long new connections are still served after SIGTERM: until no Service leads here."""
    workers: int = 1
    """`AMBIT_GATEWAY_WORKERS`: how many processes serve model calls, on one port each listener."""
    worker: int | None = None
    """`AMBIT_GATEWAY_WORKER`: which of them this one is, from 0; the process that starts them says so."""
    hold_ahead: bool = True
    """`AMBIT_HOLD_AHEAD` (On | Off): whether a session's likely next call is held before it is made."""

    @staticmethod
    def from_env(environ: Mapping[str, str]) -> "Settings":
        """Raises SettingsError, naming the variable and what to write."""
        return Settings(
            namespace=required(environ, "AMBIT_NAMESPACE", "ambit-system"),
            service_account=environ.get("AMBIT_SERVICE_ACCOUNT", GATEWAY),
            ledger_url=required(environ, "AMBIT_LEDGER_URL", "http://ambit-ledger.ambit-system:8090"),
            ledger_token_file=Path(required(environ, "AMBIT_LEDGER_TOKEN_FILE", "/var/run/ambit/ledger/token")),
            trust_dir=Path(required(environ, "AMBIT_TRUST", "/etc/ambit/trust")),
            signer_dir=Path(required(environ, "AMBIT_GATEWAY_SIGNER", "/etc/ambit/signer")),
            tls_dir=Path(required(environ, "AMBIT_GATEWAY_TLS", "/etc/ambit/tls")),
            pod_name=environ.get("AMBIT_POD_NAME") or required(environ, "HOSTNAME", "ambit-gateway-0"),
            sandbox_listen=environ.get("AMBIT_SANDBOX_LISTEN", f"0.0.0.0:{SANDBOX_PORT}"),
            isolate_listen=environ.get("AMBIT_ISOLATE_LISTEN", f"0.0.0.0:{ISOLATE_HOST_GATEWAY_PORT}"),
            people_listen=environ.get("AMBIT_PEOPLE_LISTEN", f"0.0.0.0:{PEOPLE_PORT}"),
            health_listen=environ.get("AMBIT_HEALTH_LISTEN", f"0.0.0.0:{HEALTH_PORT}"),
            log_level=environ.get("AMBIT_LOG_LEVEL", "INFO"),
            docs_url=_docs_url(environ),
            hold_expires_in_ms=positive_number(environ, "AMBIT_CALL_HOLD_MS", 120_000),
            silence_ms=positive_number(environ, "AMBIT_UPSTREAM_SILENCE_MS", 600_000),
            drain_ms=positive_number(environ, "AMBIT_DRAIN_MS", 30_000),
            lame_duck_ms=positive_number(environ, "AMBIT_LAME_DUCK_MS", 3_000),
            workers=positive_number(environ, "AMBIT_GATEWAY_WORKERS", 1),
            worker=int(environ[workers.NUMBER]) if workers.NUMBER in environ else None,
            hold_ahead=on_or_off(environ, "AMBIT_HOLD_AHEAD", "On"),
        )


def _docs_url(environ: Mapping[str, str]) -> str:
    written = environ.get("AMBIT_DOCS_URL", documentation.IN_THE_SOURCE)
    if not documentation.is_base(written):
        raise SettingsError(
            f"AMBIT_DOCS_URL={written!r} is no address that pages stand below; write for example"
            " AMBIT_DOCS_URL=https://git.example/ambit/docs, without a slash at the end"
        )
    return written
