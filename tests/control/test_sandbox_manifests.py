"""What a Sandbox's objects look like: restricted, no DNS, one way out, nothing that users write expanded."""

from typing import Any

from ambit.control.reconcilers.sandbox import manifests
from ambit.policy import Allowed, Facts
from tests.control.builders import CLUSTER, NOW_MS, a_sandbox, a_verdict
from tests.policy.builders import GATEWAY, a_budget, an_agent

SESSION = "run-0f3a9b2c"


def a_manifest(spec: dict[str, Any] | None = None, **container: Any) -> dict[str, Any]:
    agent = an_agent(environment={"container": {"image": "registry.example/coder:1.4", **container}})
    facts = Facts(gateway=GATEWAY, budgets={a_budget().key: a_budget()}, agents={agent.key: agent})
    sandbox = a_sandbox(spec=spec)
    verdict = a_verdict(sandbox, facts)
    assert isinstance(verdict, Allowed)
    environment = agent.spec.environment.container
    assert environment is not None
    return manifests.pod(sandbox, SESSION, environment, 60_000, CLUSTER)


def variables(manifest: dict[str, Any]) -> dict[str, Any]:
    return {entry["name"]: entry for entry in manifest["spec"]["containers"][0]["env"]}


def test_the_pod_meets_the_restricted_standard_and_has_no_token_of_the_cluster() -> None:
    spec = a_manifest()["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 65532
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    [container] = spec["containers"]
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_no_resolver_answers_and_only_the_gateway_has_a_name() -> None:
    spec = a_manifest()["spec"]
    assert spec["dnsPolicy"] == "None"
    assert spec["dnsConfig"]["nameservers"] == ["127.0.0.1"]
    assert spec["hostAliases"] == [{"ip": "10.0.0.7", "hostnames": ["gateway.ambit"]}]


def test_the_policy_lets_nothing_in_and_only_the_gateways_port_out() -> None:
    spec = manifests.network_policy(a_sandbox(), SESSION, CLUSTER)["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert spec["ingress"] == []
    [rule] = spec["egress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 8080}]
    assert rule["to"] == [
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ambit-system"}},
            "podSelector": {"matchLabels": {"ambit.dev/component": "gateway"}},
        }
    ]
    assert spec["podSelector"]["matchLabels"].items() <= a_manifest()["metadata"]["labels"].items()


def test_the_kubelets_deadline_is_the_bound_and_two_minutes_after_the_longest_start() -> None:
    assert a_manifest()["spec"]["activeDeadlineSeconds"] == 300 + 60 + 120


def test_what_users_write_is_not_expanded_by_kubernetes() -> None:
    pod = a_manifest({"agentRef": {"name": "coder"}, "input": "pay $(AMBIT_TOKEN) $$5"})
    assert variables(pod)["AMBIT_INPUT"]["value"] == "pay $$(AMBIT_TOKEN) $$$$5"


def test_the_sdk_variables_lead_to_the_gateway_and_the_token_stands_in_no_manifest() -> None:
    env = variables(a_manifest())
    assert env["OPENAI_BASE_URL"]["value"] == "http://gateway.ambit:8080/openai/v1"
    assert env["ANTHROPIC_BASE_URL"]["value"] == "http://gateway.ambit:8080/anthropic"
    assert env["GOOGLE_GEMINI_BASE_URL"]["value"] == "http://gateway.ambit:8080/gemini"
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "AMBIT_TOKEN"):
        assert env[name]["valueFrom"] == {"secretKeyRef": {"name": f"{SESSION}-token", "key": "token"}}
    for name in ("HTTP_PROXY", "https_proxy"):
        assert env[name]["value"] == "http://session:$(AMBIT_TOKEN)@gateway.ambit:8080"
    names = [entry["name"] for entry in a_manifest()["spec"]["containers"][0]["env"]]
    assert names.index("AMBIT_TOKEN") < names.index("HTTP_PROXY"), "Kubernetes expands only what stands before"


def test_gvisor_where_it_is_there_unless_another_is_asked_for() -> None:
    assert a_manifest()["spec"]["runtimeClassName"] == "gvisor"
    assert a_manifest(runtimeClassName="kata")["spec"]["runtimeClassName"] == "kata"


def test_fields_of_the_agent_reach_the_pod_in_podspecs_own_shape() -> None:
    pod = a_manifest(
        command=["python", "agent.py"],
        env=[{"name": "REGION", "value": "eu"}],
        resources={"limits": {"memory": "1Gi"}},
        imagePullSecrets=[{"name": "registry"}],
        nodeSelector={"disk": "ssd"},
        tolerations=[{"key": "dedicated", "operator": "Exists"}],
    )
    spec, [container] = pod["spec"], pod["spec"]["containers"]
    assert container["command"] == ["python", "agent.py"]
    assert variables(pod)["REGION"] == {"name": "REGION", "value": "eu"}
    assert container["resources"] == {"limits": {"memory": "1Gi"}}
    assert (spec["imagePullSecrets"], spec["nodeSelector"]) == ([{"name": "registry"}], {"disk": "ssd"})
    assert spec["tolerations"] == [{"key": "dedicated", "operator": "Exists"}]


def test_the_token_names_the_session_its_agent_and_the_pod_and_outlives_the_bound_by_ten_minutes() -> None:
    claims = manifests.token_claims(a_sandbox(), SESSION, "pod-uid", 60_000, NOW_MS)
    assert claims == {
        "iss": "ambit-operator",
        "aud": "ambit-gateway",
        "sub": f"session/team-a/{SESSION}",
        "agent": "team-a/coder",
        "pod": "pod-uid",
        "iat": NOW_MS // 1000,
        "exp": NOW_MS // 1000 + 660,
    }


def test_the_tokens_secret_is_immutable_and_goes_with_the_pod() -> None:
    secret = manifests.token_secret(a_sandbox(), SESSION, "pod-uid", "ey…")
    assert secret["immutable"] is True
    assert secret["metadata"]["name"] == f"{SESSION}-token"
    assert secret["metadata"]["ownerReferences"] == [
        {"apiVersion": "v1", "kind": "Pod", "name": SESSION, "uid": "pod-uid"}
    ]


def test_a_session_of_the_gateway_gives_its_sandbox_its_name() -> None:
    own = a_sandbox(name="s-7f3kq2m4x6p5w2na", spec={"agentRef": {"name": "coder"}, "session": "s-7f3kq2m4x6p5w2na"})
    assert manifests.session_id(own) == "s-7f3kq2m4x6p5w2na"
    assert manifests.session_id(a_sandbox()) == "run-0f3a9b2c"
