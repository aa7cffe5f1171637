"""Where the apiserver is and how this process proves itself to it.

Inside a cluster: the service account that the kubelet projects. Outside: the kubeconfig, with client certificates or
tokens. Credential plug-ins (`exec`) are for people, and the command line has its own loader for them.
"""

import base64
import binascii
import ssl
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, Final, cast

import yaml

SERVICE_ACCOUNT_DIR: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TOKEN_MAX_AGE_S: Final = 60.0
"""The kubelet replaces a projected token long before it expires; so old a copy is always still good."""


class ConfigError(Exception):
    """The apiserver's address or credentials cannot be made out; the message says what to write instead."""


class TokenFile:
    """A projected token: read again when the copy is older than `TOKEN_MAX_AGE_S`."""

    def __init__(self, path: Path, clock: Callable[[], float] = monotonic) -> None:
        self._path = path
        self._clock = clock
        self._token = ""
        self._read_at: float | None = None

    def __call__(self) -> str:
        """The token. Raises OSError if the file cannot be read."""
        now = self._clock()
        if self._read_at is None or now - self._read_at >= TOKEN_MAX_AGE_S:
            self._token = self._path.read_text().strip()
            self._read_at = now
        return self._token


@dataclass(frozen=True)
class KubeConfig:
    """One apiserver and one identity."""

    server: str
    """`https://host:port`, without a slash at the end."""
    tls: ssl.SSLContext | None = field(repr=False)
    """None for plain HTTP."""
    token: Callable[[], str] | None = field(default=None, repr=False)
    """The bearer token, asked for at each request; None: the client certificate is the identity."""
    namespace: str = "default"
    """The namespace of the service account, or of the kubeconfig's context."""

    @staticmethod
    def load(environ: Mapping[str, str]) -> "KubeConfig":
        """In a cluster its service account; else the current context of KUBECONFIG, or of ~/.kube/config.

        Raises ConfigError.
        """
        if environ.get("KUBERNETES_SERVICE_HOST") and (SERVICE_ACCOUNT_DIR / "token").exists():
            return in_cluster(environ, SERVICE_ACCOUNT_DIR)
        named = environ.get("KUBECONFIG")
        path = Path(named) if named else Path(environ.get("HOME", "/")) / ".kube" / "config"
        return from_kubeconfig(path)


def in_cluster(environ: Mapping[str, str], service_account_dir: Path) -> KubeConfig:
    """The service account that the kubelet projects into every pod."""
    host, port = environ["KUBERNETES_SERVICE_HOST"], environ.get("KUBERNETES_SERVICE_PORT_HTTPS", "443")
    if ":" in host:
        host = f"[{host}]"
    return KubeConfig(
        server=f"https://{host}:{port}",
        tls=ssl.create_default_context(cafile=str(service_account_dir / "ca.crt")),
        token=TokenFile(service_account_dir / "token"),
        namespace=(service_account_dir / "namespace").read_text().strip(),
    )


def from_kubeconfig(path: Path) -> KubeConfig:
    """The current context of one kubeconfig file. Raises ConfigError."""
    try:
        loaded: Any = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"the kubeconfig {path} cannot be read: {error}; set KUBECONFIG to one file") from error
    document = _mapping(loaded, path, "the file")
    context_name = document.get("current-context")
    context = _named(document, path, "contexts", context_name, "context")
    cluster = _named(document, path, "clusters", context.get("cluster"), "cluster")
    user = _named(document, path, "users", context.get("user"), "user")
    server = cluster.get("server")
    if not isinstance(server, str):
        raise ConfigError(f"{path}: the cluster of context {context_name} has no server")
    for plug_in in ("exec", "auth-provider"):
        if plug_in in user:
            raise ConfigError(
                f"{path}: the user of context {context_name} proves itself by `{plug_in}`; "
                "this process needs a token or a client certificate"
            )
    return KubeConfig(
        server=server.rstrip("/"),
        tls=_tls(cluster, user, path) if server.startswith("https://") else None,
        token=_token(user, path),
        namespace=str(context.get("namespace") or "default"),
    )


def _mapping(value: Any, path: Path, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: {what} is not a mapping")
    return cast(dict[str, Any], value)


def _named(document: dict[str, Any], path: Path, listed: str, name: Any, field_name: str) -> dict[str, Any]:
    entries: list[Any] = document.get(listed) or []
    for entry in entries:
        candidate = _mapping(entry, path, f"an entry of {listed}")
        if candidate.get("name") == name:
            return _mapping(candidate.get(field_name) or {}, path, f"{field_name} {name}")
    raise ConfigError(f"{path}: {listed} has no entry named {name!r}; see `kubectl config get-contexts`")


def _token(user: dict[str, Any], path: Path) -> Callable[[], str] | None:
    if token_file := user.get("tokenFile"):
        return TokenFile(path.parent / str(token_file))
    if token := user.get("token"):
        return lambda: str(token)
    return None


def _tls(cluster: dict[str, Any], user: dict[str, Any], path: Path) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority = _material(cluster, "certificate-authority", path)
    if authority is not None:
        # A kubeconfig's authority replaces the system's, as kubectl does: hence a context without any.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=authority.decode())
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    certificate = _material(user, "client-certificate", path)
    key = _material(user, "client-key", path)
    if certificate is not None and key is not None:
        # The ssl module loads certificates from files only; this one lives as long as the call.
        with tempfile.NamedTemporaryFile() as both:
            both.write(certificate + b"\n" + key)
            both.flush()
            context.load_cert_chain(both.name)
    return context


def _material(entry: dict[str, Any], name: str, path: Path) -> bytes | None:
    """`<name>-data` (base64) or the content of the file `<name>`, relative to the kubeconfig."""
    try:
        if data := entry.get(f"{name}-data"):
            return base64.b64decode(str(data), validate=True)
        if file := entry.get(name):
            return (path.parent / str(file)).read_bytes()
    except (OSError, binascii.Error) as error:
        raise ConfigError(f"{path}: {name} cannot be read: {error}") from error
    return None
