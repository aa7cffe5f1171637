"""What an isolate host is told by its environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ambit.api.names import GATEWAY_HOST, HEALTH_PORT, ISOLATE_HOST_GATEWAY_PORT, ISOLATE_HOST_PORT
from ambit.settings import SettingsError, positive_number, required


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Read once at start; `from_env` names the variable of each field."""

    pod_uid: str
    pod_name: str
    gateway_url: str
    """Where the gateway listens for isolate hosts, e.g. `http://gateway.ambit:8081`."""
    gateway_public_key: str
    """PEM text of the key by which the gateway signs its requests to us."""
    gateway_token_file: Path
    """Our projected service-account token (audience `ambit-gateway`); the kubelet replaces it while we run."""
    state_dir: Path
    """Ours alone and emptied at start: sockets and the agents' databases. Its path has at most 70 characters."""
    host_listen: str
    health_listen: str
    workerd: Path
    shard_config: Path
    sessions_per_shard: int
    recycle_after_loads: int
    """A shard that has loaded so many agents is replaced: each load leaves some 5 KiB behind."""
    shard_memory_bytes: int
    """RLIMIT_DATA of a shard. An empty one already has about 555 MB: V8 reserves that much for code."""
    session_disk_bytes: int
    """RLIMIT_FSIZE of a shard: the size of each of a session's files (its database and that one's log)."""
    hang_ms: int
    """CPU time that a shard may use without answering a heartbeat before it is killed: the longest turn of an agent.

    200 is enough where the kernel counts CPU time. gVisor counts the time in which a process wants to run, whether the
    machine lets it or not: on two cores with a load of 15, a bundle of 800 KB was killed at 500. Hence the default.
    """
    stall_ms: int
    """Wall time that a shard may leave a heartbeat unanswered, whatever it does meanwhile."""
    input_bytes: int
    """Largest input of a session."""
    code_store_bytes: int
    """Most bytes of agents' code that are kept; the least recently used goes first."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Settings":
        """Raises SettingsError."""
        state_dir = Path(required(environ, "AMBIT_STATE_DIR", "/var/lib/ambit/host"))
        if len(str(state_dir)) > MAX_STATE_DIR_CHARACTERS:
            raise SettingsError(
                f"AMBIT_STATE_DIR has more than {MAX_STATE_DIR_CHARACTERS} characters: the sockets below it would have "
                "names longer than a unix socket can have; choose a shorter path"
            )
        return cls(
            pod_uid=required(environ, "AMBIT_POD_UID", "the pod's metadata.uid"),
            pod_name=required(environ, "AMBIT_POD_NAME", "default-isolate-host-0"),
            gateway_url=required(
                environ, "AMBIT_GATEWAY_URL", f"http://{GATEWAY_HOST}:{ISOLATE_HOST_GATEWAY_PORT}"
            ).rstrip("/"),
            gateway_public_key=required(environ, "AMBIT_GATEWAY_PUBLIC_KEY", "the PEM text of gateway-signer.pem"),
            gateway_token_file=Path(
                required(environ, "AMBIT_GATEWAY_TOKEN_FILE", "/var/run/secrets/ambit.dev/gateway/token")
            ),
            state_dir=state_dir,
            host_listen=environ.get("AMBIT_HOST_LISTEN", f"0.0.0.0:{ISOLATE_HOST_PORT}"),
            health_listen=environ.get("AMBIT_HEALTH_LISTEN", f"0.0.0.0:{HEALTH_PORT}"),
            workerd=Path(environ.get("AMBIT_WORKERD", "/usr/local/bin/workerd")),
            shard_config=Path(environ.get("AMBIT_SHARD_CONFIG", "/opt/ambit/isolate-host/shard.capnp")),
            sessions_per_shard=positive_number(environ, "AMBIT_SESSIONS_PER_SHARD", 50),
            recycle_after_loads=positive_number(environ, "AMBIT_RECYCLE_AFTER_LOADS", 10_000),
            shard_memory_bytes=positive_number(environ, "AMBIT_SHARD_MEMORY_BYTES", 1536 << 20),
            session_disk_bytes=positive_number(environ, "AMBIT_SESSION_DISK_BYTES", 32 << 20),
            hang_ms=positive_number(environ, "AMBIT_HANG_MS", 1_000),
            stall_ms=positive_number(environ, "AMBIT_STALL_MS", 4_000),
            input_bytes=positive_number(environ, "AMBIT_INPUT_BYTES", 1 << 20),
            code_store_bytes=positive_number(environ, "AMBIT_CODE_STORE_BYTES", 64 << 20),
        )


MAX_STATE_DIR_CHARACTERS = 70
"""A unix socket's path has at most 107 bytes (unix(7)); ours are `<state_dir>/shard-<number>/<name>.sock`."""
