"""What every Pod and NetworkPolicy of ours has in common: restricted Pod Security, no DNS, one way out."""

from typing import Any, Final

from ambit.api import names
from ambit.api.base import ObjectMeta

Json = dict[str, Any]

MANAGED_BY: Final = {"app.kubernetes.io/managed-by": names.OPERATOR}
USER_ID: Final = 65532
"""The user and group of every Pod that Ambit makes, unless the image's own restricted user is kept."""
GVISOR: Final = "gvisor"
"""The RuntimeClass that is used where the cluster has it and nothing else is asked for."""
DEAD_RESOLVER: Final = "127.0.0.1"
"""Kubernetes wants one nameserver with `dnsPolicy: None`; on this address nothing answers: names leak and tunnel."""


def owned_by(kind: str, metadata: ObjectMeta) -> list[Json]:
    """The owner reference by which an object is deleted with the resource that it was made for."""
    owner = {"apiVersion": names.API_VERSION, "kind": kind, "name": metadata.name, "uid": metadata.uid}
    return [{**owner, "controller": True}]


def restricted_pod() -> Json:
    """The Pod's part of the restricted Pod Security Standard."""
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "fsGroup": USER_ID,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def restricted_container() -> Json:
    """The container's part of it."""
    return {"allowPrivilegeEscalation": False, "privileged": False, "capabilities": {"drop": ["ALL"]}}


def only_the_gateway(gateway_ip: str) -> Json:
    """No resolver; the gateway alone has a name."""
    return {
        "dnsPolicy": "None",
        "dnsConfig": {
            "nameservers": [DEAD_RESOLVER],
            "options": [{"name": "timeout", "value": "1"}, {"name": "attempts", "value": "1"}],
        },
        "hostAliases": [{"ip": gateway_ip, "hostnames": [names.GATEWAY_HOST]}],
    }


def gateway_pods(namespace: str) -> Json:
    """A NetworkPolicy peer: the gateway's Pods in the control plane's namespace."""
    return {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "podSelector": {"matchLabels": {names.COMPONENT_LABEL: names.GATEWAY_COMPONENT}},
    }
