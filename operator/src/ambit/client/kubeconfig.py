"""The kubeconfig's apiserver and identity, credential plug-ins included.

The `kubernetes` package reads it, since that is what people's other tools do (several files in KUBECONFIG, `exec`
plug-ins, OIDC). It is imported here alone, and only when asked for: it takes half a second, and comes with the extra
`cli`, since no process of the control plane needs it.
"""

import importlib
import logging
import ssl
from dataclasses import dataclass
from typing import Any

from ambit.client.errors import ClientError


@dataclass(frozen=True)
class Credentials:
    """One apiserver, and who we are to it and to the gateway."""

    server: str
    """`https://host:port`, without a slash at the end."""
    authority_file: str | None
    """PEM; None: the system's authorities."""
    verify: bool
    """False only where the kubeconfig says `insecure-skip-tls-verify`."""
    certificate_file: str | None
    key_file: str | None
    authorization: str | None
    """`Bearer …`."""
    server_name: str | None
    """Whom the apiserver's certificate has to name; None: the host of `server`."""
    proxy: str | None
    """The proxy on the way to the apiserver."""

    def to_apiserver(self) -> ssl.SSLContext | bool:
        """TLS towards the apiserver; True for plain HTTP, where none is used."""
        if not self.server.startswith("https://"):
            return True
        context = ssl.create_default_context(cafile=self.authority_file)
        if not self.verify:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return self._identified(context)

    def to_gateway(self, authority_pem: str) -> ssl.SSLContext:
        """TLS towards the gateway, which is known by the authority that the cluster publishes and by nothing else."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_verify_locations(cadata=authority_pem)
        return self._identified(context)

    @property
    def headers(self) -> dict[str, str]:
        """The bearer token, where there is one."""
        return {} if self.authorization is None else {"Authorization": self.authorization}

    def _identified(self, context: ssl.SSLContext) -> ssl.SSLContext:
        if self.certificate_file is not None:
            context.load_cert_chain(self.certificate_file, self.key_file)
        return context


def load(context: str | None = None) -> Credentials:
    """The current context of the user's kubeconfig, or `context`. Raises ClientError."""
    config = _package()
    loaded: Any = importlib.import_module("kubernetes.client").Configuration()
    # The package says what a plug-in complains of in its log alone; it is told below, in one sentence.
    quiet = _Complaints()
    root = logging.getLogger()
    root.addHandler(quiet)
    try:
        config.load_kube_config(client_configuration=loaded, context=context)
    except config.ConfigException as error:
        raise ClientError(
            f"the kubeconfig cannot be used: {error} Set KUBECONFIG, or see `kubectl config view`."
        ) from error
    finally:
        root.removeHandler(quiet)
    # `BearerToken` since the package's version 36, `authorization` before.
    authorization = loaded.api_key.get("BearerToken") or loaded.api_key.get("authorization")
    if authorization is None and not loaded.cert_file:
        why = f": {quiet.last}" if quiet.last else ""
        raise ClientError(f"the kubeconfig gives neither a token nor a client certificate{why}. Log in to the cluster.")
    return Credentials(
        server=str(loaded.host).rstrip("/"),
        authority_file=loaded.ssl_ca_cert or None,
        verify=bool(loaded.verify_ssl),
        certificate_file=loaded.cert_file or None,
        key_file=loaded.key_file or None,
        authorization=authorization,
        server_name=getattr(loaded, "tls_server_name", None) or None,
        proxy=loaded.proxy or None,
    )


class _Complaints(logging.Handler):
    """Keeps the last error that was logged."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.last = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.last = record.getMessage()


def current_namespace(context: str | None = None) -> str:
    """The namespace of the kubeconfig's current context, or of `context`; `default` where it has none."""
    config = _package()
    contexts: list[dict[str, Any]]
    current: dict[str, Any]
    try:
        contexts, current = config.list_kube_config_contexts()
    except config.ConfigException as error:
        raise ClientError(f"the kubeconfig cannot be used: {error} Set KUBECONFIG.") from error
    chosen = next((found for found in contexts if found["name"] == context), current)
    return str(chosen["context"].get("namespace") or "default")


def _package() -> Any:
    """`kubernetes.config`, of whose functions not all have types. Raises ClientError where it is not installed."""
    try:
        return importlib.import_module("kubernetes.config")
    except ModuleNotFoundError as error:
        if error.name != "kubernetes":
            raise
        raise ClientError(
            "reading a kubeconfig needs the extra `cli`: install it with pip install 'ambit-operator[cli]'."
        ) from error
