"""Names and numbers of the control plane that several reconcilers write (docs/design/0001-interfaces.md)."""

from typing import Final

AGENT_LABEL: Final = "ambit.dev/agent"
SANDBOX_LABEL: Final = "ambit.dev/sandbox"
SESSION_LABEL: Final = "ambit.dev/session"
POOL_LABEL: Final = "ambit.dev/pool"
COMPONENT_LABEL: Final = "ambit.dev/component"
MANAGED_BY: Final = {"app.kubernetes.io/managed-by": "ambit-operator"}

SANDBOX_COMPONENT: Final = "sandbox"
ISOLATE_HOST_COMPONENT: Final = "isolate-host"
GATEWAY_COMPONENT: Final = "gateway"

SESSION_FINALIZER: Final = "ambit.dev/session-account"
GATEWAY_SERVICE: Final = "ambit-gateway"
GATEWAY_HOST: Final = "gateway.ambit"
SANDBOX_PORT: Final = 8080
ISOLATE_HOST_GATEWAY_PORT: Final = 8081
ISOLATE_HOST_PORT: Final = 8082
HEALTH_PORT: Final = 9090

USER_ID: Final = 65532
"""The user and group of every Pod that Ambit makes, unless the image's own restricted user is kept."""
GVISOR: Final = "gvisor"
"""The RuntimeClass that is used where the cluster has it and nothing else is asked for."""
DEAD_RESOLVER: Final = "127.0.0.1"
"""Kubernetes wants one nameserver with `dnsPolicy: None`; on this address nothing answers: names leak and tunnel."""

TOKEN_ISSUER: Final = "ambit-operator"
TOKEN_AUDIENCE: Final = "ambit-gateway"


def budget_path(namespace: str, name: str) -> str:
    return f"budget/{namespace}/{name}"


def agent_path(namespace: str, name: str) -> str:
    return f"agent/{namespace}/{name}"


def session_path(namespace: str, session: str) -> str:
    return f"session/{namespace}/{session}"
