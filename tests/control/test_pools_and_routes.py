"""SandboxPools and ModelRoutes against a real apiserver: hosts are made by the StatefulSet controller, never run."""

import pytest

from ambit.kube import resources as kinds
from tests.control.rig import HOST_IMAGE, Json, Rig

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400), pytest.mark.asyncio(loop_scope="module")]

HOSTS = "default-isolate-host"
BACKEND: Json = {
    "name": "primary",
    "provider": "OpenAI",
    "url": "https://model.example:8000",
    "model": "m",
    "price": {"input": "1", "output": "1"},
    "limits": {"contextTokens": "1k", "maxOutputTokens": "100"},
}


def message(obj: Json) -> str:
    return next(c["message"] for c in obj["status"]["conditions"] if c["type"] == "Ready")


async def test_a_pool_gets_hosts_that_reach_the_gateway_alone(rig: Rig) -> None:
    restricted = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    await rig.client.patch(kinds.NAMESPACES, rig.namespace, restricted)
    await rig.create(kinds.SANDBOX_POOLS, "default", {"isolate": {"hosts": {"min": 2}}})
    await rig.until(kinds.STATEFUL_SETS, HOSTS, lambda obj: obj.get("status", {}).get("replicas") == 2)
    host = await rig.client.get(kinds.PODS, f"{HOSTS}-0", rig.namespace)
    assert host["metadata"]["labels"].items() >= {
        ("ambit.dev/component", "isolate-host"),
        ("ambit.dev/pool", "default"),
    }
    [container] = host["spec"]["containers"]
    assert container["image"] == HOST_IMAGE
    env = {entry["name"]: entry.get("value") for entry in container["env"]}
    trust = await rig.client.get(kinds.CONFIG_MAPS, "ambit-trust", rig.control_namespace)
    assert env["AMBIT_GATEWAY_PUBLIC_KEY"] == trust["data"]["gateway-signer.pem"]
    assert host["spec"]["automountServiceAccountToken"] is False
    projected = [volume["projected"] for volume in host["spec"]["volumes"] if "projected" in volume]
    assert [p["sources"][0]["serviceAccountToken"]["audience"] for p in projected] == ["ambit-gateway"]
    policy = await rig.client.get(kinds.NETWORK_POLICIES, HOSTS, rig.namespace)
    [egress], [ingress] = policy["spec"]["egress"], policy["spec"]["ingress"]
    assert (egress["ports"][0]["port"], ingress["ports"][0]["port"]) == (8081, 8082)
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= host["metadata"]["labels"].items()
    waiting = await rig.until(kinds.SANDBOX_POOLS, "default", lambda obj: "hosts" in obj.get("status", {}))
    assert waiting["status"]["hosts"] == {"desired": 2, "ready": 0}


async def test_ready_hosts_make_the_pool_ready_and_scaling_is_followed(rig: Rig) -> None:
    await rig.create(kinds.SANDBOX_POOLS, "default", {"isolate": {"hosts": {"min": 1}}})
    await rig.until(kinds.PODS, f"{HOSTS}-0", bool)
    await rig.kubelet.bind(f"{HOSTS}-0")
    await rig.kubelet.run(f"{HOSTS}-0", container="isolate-host")
    await rig.until_reason(kinds.SANDBOX_POOLS, "default", "Ready")
    await rig.client.patch(
        kinds.SANDBOX_POOLS, "default", {"spec": {"replicas": 3}}, rig.namespace, subresource="scale"
    )
    await rig.until(kinds.STATEFUL_SETS, HOSTS, lambda obj: obj["spec"]["replicas"] == 3)
    await rig.until(kinds.SANDBOX_POOLS, "default", lambda obj: obj["status"]["hosts"] == {"desired": 3, "ready": 1})


async def test_what_somebody_changed_of_the_hosts_is_put_back(rig: Rig) -> None:
    await rig.create(kinds.SANDBOX_POOLS, "default", {})
    await rig.until(kinds.STATEFUL_SETS, HOSTS, bool)
    await rig.client.patch(kinds.STATEFUL_SETS, HOSTS, {"spec": {"replicas": 0}}, rig.namespace)
    await rig.until(kinds.STATEFUL_SETS, HOSTS, lambda obj: obj["spec"]["replicas"] == 1)
    await rig.client.delete(kinds.NETWORK_POLICIES, HOSTS, rig.namespace)
    await rig.until(kinds.NETWORK_POLICIES, HOSTS, bool)


async def test_a_refusal_of_a_host_by_quota_is_said_word_for_word(rig: Rig) -> None:
    quota = kinds.Resource("", "v1", "resourcequotas", "ResourceQuota")
    await rig.create(quota, "none", {"hard": {"pods": "0"}})
    await rig.create(kinds.SANDBOX_POOLS, "default", {})
    refused = await rig.until_reason(kinds.SANDBOX_POOLS, "default", "Refused")
    assert "exceeded quota: none, requested: pods=1, used: pods=0, limited: pods=0" in message(refused)


async def test_deletion_of_a_pool_leaves_nothing(rig: Rig) -> None:
    await rig.create(kinds.SANDBOX_POOLS, "default", {})
    await rig.until(kinds.STATEFUL_SETS, HOSTS, bool)
    await rig.client.delete(kinds.SANDBOX_POOLS, "default", rig.namespace)
    for kind, name in ((kinds.STATEFUL_SETS, HOSTS), (kinds.NETWORK_POLICIES, HOSTS), (kinds.PODS, f"{HOSTS}-0")):
        await rig.until_gone(kind, name)


async def test_a_route_says_how_to_grant_its_credential_and_sees_the_grant(rig: Rig) -> None:
    keyed = BACKEND | {"credentialRef": {"name": "openai", "key": "apiKey"}}
    await rig.create(kinds.MODEL_ROUTES, "open", {"backends": [BACKEND]})
    await rig.until_reason(kinds.MODEL_ROUTES, "open", "Ready")
    await rig.create(kinds.MODEL_ROUTES, "keyed", {"backends": [keyed]})
    await rig.a_budget()
    container = {"environment": {"container": {"image": "registry.example/coder:1"}}}
    models = [{"name": "m", "routeRef": {"name": "keyed"}}]
    await rig.create(kinds.AGENTS, "coder", {**container, "models": models})
    forbidden = await rig.until_reason(kinds.MODEL_ROUTES, "keyed", "CredentialForbidden")
    assert "--clusterrole=ambit-credential-reader" in message(forbidden)
    await rig.until_reason(kinds.AGENTS, "coder", "CredentialForbidden")

    role = {"rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]}
    await rig.client.create(kinds.ROLES, {"metadata": {"name": "reader"}, **role}, rig.namespace)
    subject = {"kind": "ServiceAccount", "name": "ambit-gateway", "namespace": rig.control_namespace}
    binding = {
        "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [subject],
    }
    await rig.client.create(kinds.ROLE_BINDINGS, binding, rig.namespace)
    await rig.until_reason(kinds.MODEL_ROUTES, "keyed", "Ready")
    await rig.until_reason(kinds.AGENTS, "coder", "Ready")


async def test_what_the_gateway_finds_of_a_secret_is_folded_into_ready(rig: Rig) -> None:
    keyed = BACKEND | {"credentialRef": {"name": "openai", "key": "apiKey"}}
    role = {"rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]}
    await rig.client.create(kinds.ROLES, {"metadata": {"name": "reader"}, **role}, rig.namespace)
    subject = {"kind": "ServiceAccount", "name": "ambit-gateway", "namespace": rig.control_namespace}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"}
    binding = {"metadata": {"name": "reader"}, "roleRef": reference, "subjects": [subject]}
    await rig.client.create(kinds.ROLE_BINDINGS, binding, rig.namespace)
    await rig.create(kinds.MODEL_ROUTES, "keyed", {"backends": [keyed]})
    await rig.until_reason(kinds.MODEL_ROUTES, "keyed", "Ready")
    for status, reason, ready in (("False", "SecretMissing", "SecretMissing"), ("True", "Readable", "Ready")):
        condition = {
            "type": "CredentialReadable",
            "status": status,
            "reason": reason,
            "message": "",
            "observedGeneration": 1,
            "lastTransitionTime": "2026-01-02T03:04:05Z",
        }
        body = {
            "apiVersion": kinds.MODEL_ROUTES.api_version,
            "kind": "ModelRoute",
            "metadata": {"name": "keyed"},
            "status": {"conditions": [condition]},
        }
        path = kinds.MODEL_ROUTES.path(rig.namespace, "keyed", "status")
        query = {"fieldManager": "ambit-gateway", "force": "true"}
        await rig.client.request(
            "PATCH", kinds.MODEL_ROUTES, path, body=body, content_type="application/apply-patch+yaml", query=query
        )
        seen = await rig.until_reason(kinds.MODEL_ROUTES, "keyed", ready)
        assert condition in seen["status"]["conditions"], "the gateway's condition stays its own"
