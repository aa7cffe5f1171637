"""Names and numbers that the gateway's sessions share (docs/design/0001-interfaces.md)."""

from typing import Final

AGENT_LABEL: Final = "ambit.dev/agent"
SESSION_LABEL: Final = "ambit.dev/session"
POOL_LABEL: Final = "ambit.dev/pool"
COMPONENT_LABEL: Final = "ambit.dev/component"
OPENED_BY_ANNOTATION: Final = "ambit.dev/opened-by"
"""On a Sandbox: the pod of the gateway whose caller it runs for."""

ISOLATE_HOST: Final = "isolate-host"
GATEWAY: Final = "gateway"
ISOLATE_HOST_PORT: Final = 8082
SANDBOX_CONTAINER: Final = "sandbox"
"""The container whose output is a session's."""


def session_path(namespace: str, session: str) -> str:
    """The session's account."""
    return f"session/{namespace}/{session}"


ISOLATE: Final = "isolate"
CONTAINER: Final = "container"
"""The attribute `environment` of a session's account."""
