"""What every Pod and NetworkPolicy of ours has in common: restricted Pod Security, no DNS, one way out."""

from typing import Any

from ambit.api.base import API_VERSION, ObjectMeta
from ambit.control import names

Json = dict[str, Any]


def owned_by(kind: str, metadata: ObjectMeta) -> list[Json]:
    """The owner reference by which an object is deleted with the resource that it was made for."""
    return [{"apiVersion": API_VERSION, "kind": kind, "name": metadata.name, "uid": metadata.uid, "controller": True}]


def restricted_pod() -> Json:
    """The Pod's part of the restricted Pod Security Standard."""
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": names.USER_ID,
            "runAsGroup": names.USER_ID,
            "fsGroup": names.USER_ID,
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
            "nameservers": [names.DEAD_RESOLVER],
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
