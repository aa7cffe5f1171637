"""The objects of one Sandbox: NetworkPolicy, Pod, and the Secret with its session's token.

Their names carry the session's id, which is unique to the Sandbox's UID: no leftover of an earlier Sandbox of the same
name can be met. The container's root file system is writable (usual images write beside their program); it is thrown
away with the Pod.
"""

from dataclasses import dataclass
from typing import Any, Final

from ambit.api import names
from ambit.api.environment import ContainerEnvironment
from ambit.api.sandbox import Sandbox
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

"""The container's name, by which the gateway follows its log."""
TOKEN_KEY: Final = "token"
BACKSTOP_MS: Final = 120_000
WORKSPACE_LIMIT: Final = "10Gi"
TMP_LIMIT: Final = "2Gi"
TOKEN_LEEWAY_MS: Final = 600_000


@dataclass(frozen=True)
class Cluster:
    """What of the cluster a Pod's manifest depends on."""

    control_namespace: str
    gateway_ip: str
    has_gvisor: bool
    start_timeout_ms: int
    """How long a Pod may take to start."""


def session_id(sandbox: Sandbox) -> str:
    """The session that a Sandbox runs: the gateway's, or one of its own that is unique to its UID."""
    return sandbox.spec.session or f"{sandbox.metadata.name}-{sandbox.metadata.uid[:8]}"


def network_policy(sandbox: Sandbox, session: str, cluster: Cluster) -> Json:
    """Nothing in; out to the gateway's port for sandboxes and nowhere else."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _metadata(sandbox, session),
        "spec": {
            "podSelector": {"matchLabels": {names.SESSION_LABEL: session}},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [],
            "egress": [
                {
                    "to": [gateway_pods(cluster.control_namespace)],
                    "ports": [{"protocol": "TCP", "port": names.SANDBOX_PORT}],
                }
            ],
        },
    }


def pod(
    sandbox: Sandbox, session: str, container: ContainerEnvironment, runtime_bound_ms: int, cluster: Cluster
) -> Json:
    """The Pod. The kubelet's own deadline counts from its acceptance, hence the time to start is added to it."""
    deadline_ms = cluster.start_timeout_ms + runtime_bound_ms + BACKSTOP_MS
    spec: Json = {
        **restricted_pod(),
        **only_the_gateway(cluster.gateway_ip),
        "restartPolicy": "Never",
        "activeDeadlineSeconds": -(-deadline_ms // 1000),
        "terminationGracePeriodSeconds": 5,
        "containers": [_container(sandbox, session, container)],
        "volumes": [
            {"name": "workspace", "emptyDir": {"sizeLimit": WORKSPACE_LIMIT}},
            {"name": "tmp", "emptyDir": {"sizeLimit": TMP_LIMIT}},
        ],
    }
    runtime_class = container.runtime_class_name or (GVISOR if cluster.has_gvisor else None)
    optional: Json = {
        "runtimeClassName": runtime_class,
        "imagePullSecrets": [ref.to_dict() for ref in container.image_pull_secrets],
        "nodeSelector": container.node_selector,
        "tolerations": [toleration.to_dict() for toleration in container.tolerations],
    }
    spec |= {name: value for name, value in optional.items() if value}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": _metadata(sandbox, session), "spec": spec}


def token_secret(sandbox: Sandbox, session: str, pod_uid: str, token: str) -> Json:
    """The session's token; it goes with the Pod, and cannot be changed."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": token_secret_name(session),
            "namespace": sandbox.metadata.namespace,
            "labels": _labels(sandbox, session),
            "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": session, "uid": pod_uid}],
        },
        "immutable": True,
        "type": "Opaque",
        "stringData": {TOKEN_KEY: token},
    }


def token_secret_name(session: str) -> str:
    return f"{session}-token"


def token_claims(sandbox: Sandbox, session: str, pod_uid: str, runtime_bound_ms: int, now_ms: int) -> Json:
    """What the token says of its bearer (docs/design/0001-interfaces.md, "Session token")."""
    claims: Json = {
        "iss": names.SESSION_TOKEN_ISSUER,
        "aud": names.GATEWAY_AUDIENCE,
        "sub": names.session_path(sandbox.metadata.namespace, session),
        "pod": pod_uid,
        "iat": now_ms // 1000,
        "exp": (now_ms + runtime_bound_ms + TOKEN_LEEWAY_MS) // 1000,
    }
    if sandbox.spec.agent_ref is not None:
        claims["agent"] = f"{sandbox.metadata.namespace}/{sandbox.spec.agent_ref.name}"
    return claims


def _container(sandbox: Sandbox, session: str, container: ContainerEnvironment) -> Json:
    made: Json = {
        "name": names.SANDBOX_CONTAINER,
        "image": container.image,
        "securityContext": restricted_container(),
        "env": [*_environment(sandbox, session), *(variable.to_dict() for variable in container.env)],
        "volumeMounts": [
            {"name": "workspace", "mountPath": "/workspace"},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }
    optional: Json = {
        "command": list(container.command),
        "args": list(container.args),
        "resources": container.resources.to_dict() if container.resources else None,
        "imagePullPolicy": container.image_pull_policy,
    }
    return made | {name: value for name, value in optional.items() if value}


def _environment(sandbox: Sandbox, session: str) -> list[Json]:
    gateway = f"http://{names.GATEWAY_HOST}:{names.SANDBOX_PORT}"
    # Kubernetes expands $(AMBIT_TOKEN) from the variable before it.
    proxy = f"http://session:$(AMBIT_TOKEN)@{names.GATEWAY_HOST}:{names.SANDBOX_PORT}"
    values = {
        "AMBIT_GATEWAY_URL": gateway,
        "AMBIT_SESSION": session,
        # … and would expand what the user wrote, too.
        "AMBIT_INPUT": (sandbox.spec.input or "").replace("$", "$$"),
        "OPENAI_BASE_URL": f"{gateway}/openai/v1",
        "ANTHROPIC_BASE_URL": f"{gateway}/anthropic",
        "GOOGLE_GEMINI_BASE_URL": f"{gateway}/gemini",
        "HTTP_PROXY": proxy,
        "HTTPS_PROXY": proxy,
        "http_proxy": proxy,
        "https_proxy": proxy,
        "NO_PROXY": names.GATEWAY_HOST,
        "no_proxy": names.GATEWAY_HOST,
        "HOME": "/workspace",
    }
    token = {"secretKeyRef": {"name": token_secret_name(session), "key": TOKEN_KEY}}
    from_secret = ("AMBIT_TOKEN", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY")
    return [
        *({"name": name, "valueFrom": token} for name in from_secret),
        *({"name": name, "value": value} for name, value in values.items()),
    ]


def _metadata(sandbox: Sandbox, session: str) -> Json:
    return {
        "name": session,
        "namespace": sandbox.metadata.namespace,
        "labels": _labels(sandbox, session),
        "ownerReferences": owned_by("Sandbox", sandbox.metadata),
    }


def _labels(sandbox: Sandbox, session: str) -> dict[str, str]:
    labels = {
        **MANAGED_BY,
        names.COMPONENT_LABEL: names.SANDBOX_COMPONENT,
        names.SANDBOX_LABEL: sandbox.metadata.name,
        names.SESSION_LABEL: session,
    }
    if sandbox.spec.agent_ref is not None:
        labels[names.AGENT_LABEL] = sandbox.spec.agent_ref.name
    return labels
