"""Ambit for programs and people outside the cluster: open sessions, see them, kill them.

It needs a kubeconfig and nothing else: the way to the gateway is a port-forward through the apiserver, the gateway is
known by the certificate that the cluster publishes, and the identity is the kubeconfig's.
"""

from ambit.client.errors import ClientError, GatewayRefused
from ambit.client.gateway import GatewayClient, connect
from ambit.client.sessions import Ended, Opened, Output, SessionEvent, SessionStream, SessionView, Usage

__all__ = [
    "ClientError",
    "Ended",
    "GatewayClient",
    "GatewayRefused",
    "Opened",
    "Output",
    "SessionEvent",
    "SessionStream",
    "SessionView",
    "Usage",
    "connect",
]
