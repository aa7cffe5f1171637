"""What an isolate host is told by its environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


class SettingsError(Exception):
    """An environment variable is missing or wrong; the message says which and what to write."""


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
    """CPU time that a shard may use without answering a heartbeat before it is killed."""
    stall_ms: int
    """Wall time that a shard may leave a heartbeat unanswered, whatever it does meanwhile."""
    input_bytes: int
    """Largest input of a session."""
    code_store_bytes: int
    """Most bytes of agents' code that are kept; the least recently used goes first."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Settings":
        """Raises SettingsError."""
        state_dir = Path(_required(environ, "AMBIT_STATE_DIR"))
        if len(str(state_dir)) > MAX_STATE_DIR_CHARACTERS:
            raise SettingsError(
                f"AMBIT_STATE_DIR has more than {MAX_STATE_DIR_CHARACTERS} characters: the sockets below it would have "
                "names longer than a unix socket can have; choose a shorter path"
            )
        return cls(
            pod_uid=_required(environ, "AMBIT_POD_UID"),
            pod_name=_required(environ, "AMBIT_POD_NAME"),
            gateway_url=_required(environ, "AMBIT_GATEWAY_URL").rstrip("/"),
            gateway_public_key=_required(environ, "AMBIT_GATEWAY_PUBLIC_KEY"),
            gateway_token_file=Path(_required(environ, "AMBIT_GATEWAY_TOKEN_FILE")),
            state_dir=state_dir,
            host_listen=environ.get("AMBIT_HOST_LISTEN", "0.0.0.0:8082"),
            health_listen=environ.get("AMBIT_HEALTH_LISTEN", "0.0.0.0:9090"),
            workerd=Path(environ.get("AMBIT_WORKERD", "/usr/local/bin/workerd")),
            shard_config=Path(environ.get("AMBIT_SHARD_CONFIG", "/opt/ambit/isolate-host/shard.capnp")),
            sessions_per_shard=_count(environ, "AMBIT_SESSIONS_PER_SHARD", 50),
            recycle_after_loads=_count(environ, "AMBIT_RECYCLE_AFTER_LOADS", 10_000),
            shard_memory_bytes=_count(environ, "AMBIT_SHARD_MEMORY_BYTES", 1536 << 20),
            session_disk_bytes=_count(environ, "AMBIT_SESSION_DISK_BYTES", 32 << 20),
            hang_ms=_count(environ, "AMBIT_HANG_MS", 200),
            stall_ms=_count(environ, "AMBIT_STALL_MS", 2_000),
            input_bytes=_count(environ, "AMBIT_INPUT_BYTES", 1 << 20),
            code_store_bytes=_count(environ, "AMBIT_CODE_STORE_BYTES", 64 << 20),
        )


MAX_STATE_DIR_CHARACTERS = 70
"""A unix socket's path has at most 107 bytes (unix(7)); ours are `<state_dir>/shard-<number>/<name>.sock`."""


def _required(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name)
    if not value:
        raise SettingsError(f"{name} is not set")
    return value


def _count(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, str(default))
    if not text.isdigit() or int(text) == 0:
        raise SettingsError(f"{name}={text!r} is no positive whole number")
    return int(text)
