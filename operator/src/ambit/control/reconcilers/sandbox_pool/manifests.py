"""The objects of one pool: NetworkPolicy and StatefulSet."""

from dataclasses import dataclass
from hashlib import blake2s
from typing import Any, Final

import msgspec

from ambit.api import names
from ambit.api.sandbox_pool import SandboxPool
from ambit.control.manifests import (
    GVISOR,
    MANAGED_BY,
    gateway_pods,
    only_the_gateway,
    owned_by,
    restricted_container,
    restricted_pod,
)

Json = dict[str, Any]

CONTAINER: Final = "isolate-host"
HASH_ANNOTATION: Final = f"{names.GROUP}/manifest-hash"
TOKEN_FOLDER: Final = "/var/run/secrets/ambit.dev/gateway"
STATE_FOLDER: Final = "/var/lib/ambit"
STATE_LIMIT: Final = "4Gi"
TOKEN_LIFE_S: Final = 3600
RESOURCES: Final[Json] = {"requests": {"cpu": "250m", "memory": "512Mi"}, "limits": {"memory": "2Gi"}}
"""Of a host that says nothing of its own. The limit fits one shard (1.5 GiB) and its supervisor."""


@dataclass(frozen=True)
class Cluster:
    """What of the cluster a host's manifest depends on."""

    control_namespace: str
    gateway_ip: str
    gateway_public_key: str
    """PEM: by it a host knows the gateway's requests."""
    image: str
    has_gvisor: bool


def name_of(pool: SandboxPool) -> str:
    return f"{pool.metadata.name}-isolate-host"


def network_policy(pool: SandboxPool, cluster: Cluster) -> Json:
    """In from the gateway; out to the gateway's port for hosts and nowhere else."""
    gateway = [gateway_pods(cluster.control_namespace)]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _metadata(pool),
        "spec": {
            "podSelector": {"matchLabels": _selector(pool)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": gateway, "ports": [{"protocol": "TCP", "port": names.ISOLATE_HOST_PORT}]}],
            "egress": [{"to": gateway, "ports": [{"protocol": "TCP", "port": names.ISOLATE_HOST_GATEWAY_PORT}]}],
        },
    }


def stateful_set(pool: SandboxPool, cluster: Cluster) -> Json:
    """The hosts. Their state goes with the Pod: an isolate's database lives as long as its session."""
    manifest: Json = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": _metadata(pool),
        "spec": {
            "replicas": pool.spec.isolate.hosts.min,
            "serviceName": name_of(pool),
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": _selector(pool)},
            "template": {"metadata": {"labels": _labels(pool)}, "spec": _pod_spec(pool, cluster)},
        },
    }
    digest = blake2s(msgspec.json.encode(manifest["spec"], order="sorted"), digest_size=16).hexdigest()
    manifest["metadata"]["annotations"] = {HASH_ANNOTATION: digest}
    return manifest


def manifest_hash(manifest: Json) -> str:
    return manifest["metadata"]["annotations"][HASH_ANNOTATION]


def _pod_spec(pool: SandboxPool, cluster: Cluster) -> Json:
    isolate = pool.spec.isolate
    token = {"path": "token", "audience": names.GATEWAY_AUDIENCE, "expirationSeconds": TOKEN_LIFE_S}
    spec: Json = {
        **restricted_pod(),
        **only_the_gateway(cluster.gateway_ip),
        "terminationGracePeriodSeconds": 30,
        "containers": [
            {
                "name": CONTAINER,
                "image": cluster.image,
                "args": ["isolate-host"],
                "securityContext": {**restricted_container(), "readOnlyRootFilesystem": True},
                "env": _environment(cluster),
                "ports": [
                    {"name": "sessions", "containerPort": names.ISOLATE_HOST_PORT},
                    {"name": "health", "containerPort": names.HEALTH_PORT},
                ],
                "readinessProbe": {"httpGet": {"path": "/readyz", "port": "health"}, "periodSeconds": 2},
                "livenessProbe": {
                    "httpGet": {"path": "/healthz", "port": "health"},
                    "periodSeconds": 10,
                    "failureThreshold": 6,
                },
                "resources": isolate.resources.to_dict() if isolate.resources else RESOURCES,
                "volumeMounts": [
                    {"name": "state", "mountPath": STATE_FOLDER},
                    {"name": "tmp", "mountPath": "/tmp"},
                    {"name": "gateway-token", "mountPath": TOKEN_FOLDER, "readOnly": True},
                ],
            }
        ],
        "volumes": [
            {"name": "state", "emptyDir": {"sizeLimit": STATE_LIMIT}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}},
            {"name": "gateway-token", "projected": {"sources": [{"serviceAccountToken": token}]}},
        ],
    }
    runtime_class = isolate.runtime_class_name or (GVISOR if cluster.has_gvisor else None)
    return spec | ({"runtimeClassName": runtime_class} if runtime_class else {})


def _environment(cluster: Cluster) -> list[Json]:
    from_pod = {"AMBIT_POD_UID": "metadata.uid", "AMBIT_POD_NAME": "metadata.name"}
    values = {
        "AMBIT_GATEWAY_URL": f"http://{names.GATEWAY_HOST}:{names.ISOLATE_HOST_GATEWAY_PORT}",
        "AMBIT_GATEWAY_PUBLIC_KEY": cluster.gateway_public_key,
        "AMBIT_GATEWAY_TOKEN_FILE": f"{TOKEN_FOLDER}/token",
        "AMBIT_STATE_DIR": f"{STATE_FOLDER}/host",
        "AMBIT_HOST_LISTEN": f"0.0.0.0:{names.ISOLATE_HOST_PORT}",
        "AMBIT_HEALTH_LISTEN": f"0.0.0.0:{names.HEALTH_PORT}",
        "HOME": "/tmp",
    }
    return [
        *({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in from_pod.items()),
        *({"name": name, "value": value} for name, value in values.items()),
    ]


def _metadata(pool: SandboxPool) -> Json:
    return {
        "name": name_of(pool),
        "namespace": pool.metadata.namespace,
        "labels": _labels(pool),
        "ownerReferences": owned_by("SandboxPool", pool.metadata),
    }


def _selector(pool: SandboxPool) -> dict[str, str]:
    return {names.COMPONENT_LABEL: names.ISOLATE_HOST_COMPONENT, names.POOL_LABEL: pool.metadata.name}


def _labels(pool: SandboxPool) -> dict[str, str]:
    return {**MANAGED_BY, **_selector(pool)}
