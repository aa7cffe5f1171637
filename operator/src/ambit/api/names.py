"""Names and numbers that Ambit's parts know one another's objects by (docs/design/0001-interfaces.md).

What only one part uses stands there.
"""

from typing import Final, NamedTuple, Self

GROUP: Final = "ambit.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"

# -- labels, annotations, finalizers -----------------------------------------
AGENT_LABEL: Final = f"{GROUP}/agent"
SANDBOX_LABEL: Final = f"{GROUP}/sandbox"
SESSION_LABEL: Final = f"{GROUP}/session"
POOL_LABEL: Final = f"{GROUP}/pool"
COMPONENT_LABEL: Final = f"{GROUP}/component"
"""One of the components below."""
OPENED_BY_ANNOTATION: Final = f"{GROUP}/opened-by"
"""On a Sandbox: the pod of the gateway whose caller it runs for."""
SESSION_FINALIZER: Final = f"{GROUP}/session-account"

GATEWAY_COMPONENT: Final = "gateway"
ISOLATE_HOST_COMPONENT: Final = "isolate-host"
SANDBOX_COMPONENT: Final = "sandbox"

SANDBOX_CONTAINER: Final = "sandbox"
"""The container of a Sandbox's Pod; its output is the session's."""

# -- the control plane's objects ---------------------------------------------
OPERATOR: Final = "ambit-operator"
"""Its Deployment, its service account, and what it says of itself."""
GATEWAY: Final = "ambit-gateway"
"""Its Deployment, its Service, its service account, and what it says of itself."""
TRUST: Final = "ambit-trust"
"""The ConfigMap with the public keys."""
GATEWAY_CA_PEM: Final = "gateway-ca.pem"
"""The key in it under which the authority of the gateway's certificate stands."""

# -- where they listen -------------------------------------------------------
GATEWAY_HOST: Final = "gateway.ambit"
"""The gateway's name inside a sandbox or isolate."""
SANDBOX_PORT: Final = 8080
ISOLATE_HOST_GATEWAY_PORT: Final = 8081
ISOLATE_HOST_PORT: Final = 8082
PEOPLE_PORT: Final = 8443
HEALTH_PORT: Final = 9090

# -- tokens and headers ------------------------------------------------------
SESSION_TOKEN_ISSUER: Final = OPERATOR
GATEWAY_AUDIENCE: Final = "ambit-gateway"
"""Of session tokens, and of an isolate host's projected token."""
ISOLATE_HOST_AUDIENCE: Final = "ambit-isolate-host"
"""Of the gateway's tokens for one host."""
LEDGER_AUDIENCE: Final = "ambit-ledger"
"""Of the operator's and the gateway's projected tokens."""

SESSION_HEADER: Final = "x-ambit-session"
CODE_HEADER: Final = "x-ambit-code-sha256"
RUNTIME_HEADER: Final = "x-ambit-runtime-ms"
HOST_ERROR_HEADER: Final = "x-ambit-host-error"
REASON_HEADER: Final = "x-ambit-reason"

# -- accounts ----------------------------------------------------------------
BUDGET_ACCOUNT: Final = "budget"
AGENT_ACCOUNT: Final = "agent"
SESSION_ACCOUNT: Final = "session"


class AccountName(NamedTuple):
    """What the path of an account says: `<kind>/<namespace>/<name>`."""

    kind: str
    namespace: str
    name: str

    @classmethod
    def parse(cls, path: str) -> Self:
        """The name is all that follows the namespace. Raises ValueError for what is no account's path."""
        kind, namespace, name = path.split("/", 2)
        return cls(kind, namespace, name)

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}"


def budget_path(namespace: str, name: str) -> str:
    """The account of a Budget."""
    return str(AccountName(BUDGET_ACCOUNT, namespace, name))


def agent_path(namespace: str, name: str) -> str:
    """The account of an Agent."""
    return str(AccountName(AGENT_ACCOUNT, namespace, name))


def session_path(namespace: str, session: str) -> str:
    """The account of a session."""
    return str(AccountName(SESSION_ACCOUNT, namespace, session))


# -- attributes of a session's account ----------------------------------------
AGENT_ATTRIBUTE: Final = "agent"
"""`<namespace>/<name>`; absent for a Sandbox of its own."""
ENVIRONMENT_ATTRIBUTE: Final = "environment"
ISOLATE: Final = "isolate"
CONTAINER: Final = "container"
USER_ATTRIBUTE: Final = "user"
"""Who opened it."""
SANDBOX_ATTRIBUTE: Final = "sandbox"
HOST_POD_ATTRIBUTE: Final = "hostPod"
"""The UID of the isolate host's pod that it was placed on."""
HOST_ATTRIBUTE: Final = "host"
CODE_ATTRIBUTE: Final = "codeSha256"
