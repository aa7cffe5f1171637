"""What an SRE sees in `kubectl get`: each thing that is missing has its reason, and nothing is written without need."""

import subprocess

import pytest

from e2e.cluster.progress import Progress
from e2e.install import install_chart
from e2e.promtool import promtool
from tests.cluster.conftest import Cluster, Manifest
from tests.cluster.manifests import (
    a_budget,
    a_container,
    a_pool,
    a_route,
    an_agent,
    an_isolate,
    code,
    resource,
)

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
ANSWER = 'export default { fetch() { return new Response("hello"); } };'


def reason(cluster: Cluster, namespace: str, kind: str, name: str) -> str:
    """The REASON column of `kubectl get`, as a person sees it."""
    table = cluster.kubectl("get", kind, name, "--namespace", namespace).splitlines()
    start = table[0].index("REASON")
    return table[1][start:].split()[0]


def a_route_with_key(secret: str) -> Manifest:
    route = a_route("keyed", url="https://model.example")
    route["spec"]["backends"][0]["credentialRef"] = {"name": secret, "key": "apiKey"}
    return route


def test_what_is_missing_is_named(cluster: Cluster, namespace: str) -> None:
    image = cluster.installed.images["ambit-workspace"]
    no_route = an_agent("no-route", a_container(image, "true"), models=[{"name": "m", "routeRef": {"name": "absent"}}])
    cluster.apply(
        namespace,
        a_budget(),
        a_route(),
        a_pool(),
        a_route_with_key("absent"),
        no_route,
        an_agent("no-budget", a_container(image, "true"), budgetRef={"name": "absent"}),
        an_agent("no-code", an_isolate("absent")),
        resource("Budget", "orphan", {"parentRef": {"name": "absent"}, "limits": [{"window": "Day", "usd": "1"}]}),
    )
    expected = {
        ("agent", "no-budget"): "BudgetNotFound",
        ("agent", "no-route"): "RouteNotFound",
        ("agent", "no-code"): "CodeNotFound",
        ("budget", "orphan"): "ParentNotFound",
        ("modelroute", "keyed"): "CredentialForbidden",
    }

    def seen() -> dict[tuple[str, str], str]:
        return {place: reason(cluster, namespace, *place) for place in expected}

    cluster.wait(f"{expected}", lambda: seen() == expected)
    message = cluster.kubectl("describe", "modelroute", "keyed", "--namespace", namespace)
    assert "create rolebinding" in message
    assert "--clusterrole=ambit-credential-reader" in message


def test_a_granted_secret_that_is_missing_is_named_and_found_once_it_is_there(cluster: Cluster, namespace: str) -> None:
    cluster.kubectl(
        *("create", "rolebinding", "ambit-credentials", "--namespace", namespace),
        *("--clusterrole=ambit-credential-reader", "--serviceaccount=ambit-system:ambit-gateway"),
    )
    cluster.apply(namespace, a_route_with_key("provider"))
    cluster.wait(
        "the missing Secret is named",
        lambda: reason(cluster, namespace, "modelroute", "keyed") == "SecretMissing",
    )
    cluster.kubectl("create", "secret", "generic", "provider", "--from-literal=apiKey=x", "--namespace", namespace)
    cluster.wait_ready(namespace, "modelroute/keyed")


def test_an_image_that_is_not_there_is_named_verbatim(cluster: Cluster, namespace: str) -> None:
    cluster.apply(namespace, a_budget(), a_route(), an_agent("typo", a_container("ambit.dev/no-such-image:1", "true")))
    cluster.wait_ready(namespace, "agent/typo")
    running = cluster.start(f"{namespace}/typo", "")
    try:
        cluster.wait(
            "the image is named at the Sandbox",
            lambda: "ImagePullFailed" in cluster.kubectl("get", "sandboxes", "--namespace", namespace),
        )
        assert "ambit.dev/no-such-image:1" in cluster.kubectl("describe", "sandboxes", "--namespace", namespace)
    finally:
        running.terminate()
        running.communicate(timeout=180)


def test_a_refusal_by_quota_appears_verbatim(cluster: Cluster, namespace: str) -> None:
    image = cluster.installed.images["ambit-workspace"]
    quota: Manifest = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}}
    cluster.apply(
        namespace,
        quota | {"spec": {"hard": {"pods": "0"}}},
        a_budget(),
        a_route(),
        an_agent("a", a_container(image, "true")),
    )
    cluster.wait_ready(namespace, "agent/a")
    running = cluster.start(f"{namespace}/a", "")
    try:
        cluster.wait(
            "the quota is named",
            lambda: "exceeded quota: none" in cluster.kubectl("describe", "sandboxes", "--namespace", namespace),
        )
    finally:
        running.terminate()
        running.communicate(timeout=180)


def test_a_second_apply_and_a_second_upgrade_change_nothing(cluster: Cluster, namespace: str) -> None:
    manifests = [a_budget(), a_route(), a_pool(), code(ANSWER), an_agent("a", an_isolate())]
    cluster.apply(namespace, *manifests)
    cluster.wait_ready(namespace, "agent/a", "sandboxpool/default", "budget/team", "modelroute/scripted")

    def versions() -> list[tuple[str, str]]:
        kinds = "budgets,agents,sandboxpools,modelroutes,statefulsets,networkpolicies"
        ours = cluster.get(kinds, "--namespace", namespace)["items"]
        control_plane = cluster.get("deployments,services,configmaps,secrets", "--namespace", "ambit-system")["items"]
        release_record = "sh.helm.release.v1"
        return [
            (item["metadata"]["name"], item["metadata"]["resourceVersion"])
            for item in [*ours, *control_plane]
            if not item["metadata"]["name"].startswith(release_record)
        ]

    before = versions()
    cluster.apply(namespace, *manifests)
    install_chart(cluster.installed.kubeconfig, cluster.installed.images, Progress())
    assert versions() == before


def test_promtool_finds_the_running_metrics_well_formed(cluster: Cluster) -> None:
    for component in ("operator", "ledger", "gateway"):
        pods = cluster.get("pods", "--namespace", "ambit-system", "--selector", f"ambit.dev/component={component}")
        name = pods["items"][0]["metadata"]["name"]
        text = cluster.kubectl("get", "--raw", f"/api/v1/namespaces/ambit-system/pods/{name}:9090/proxy/metrics")
        assert "\nambit_" in text
        done = subprocess.run(
            [str(promtool()), "check", "metrics"], input=text, capture_output=True, text=True, check=False
        )
        assert done.returncode in (0, 3), done.stderr
