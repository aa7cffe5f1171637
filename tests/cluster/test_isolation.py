"""From inside a sandbox: no way to the apiserver, the node, DNS, another sandbox or a model but by the gateway.

Each target is one that a pod without our boundary reaches (`test_without_the_boundary…`): a probe that cannot succeed
would prove nothing.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.conftest import Cluster
from tests.cluster.manifests import a_budget, a_container, a_pool, a_route, an_agent, an_isolate, code

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
PROBE = (Path(__file__).parent / "probe.py").read_text()
GATEWAY = "tcp://gateway.ambit:8080"

# Fetches each target over http and says what came of it; a Response of any status but the gateway's 403 is a way out.
ISOLATE_PROBE = """
export default {
  async fetch(request) {
    const found = {};
    for (const target of JSON.parse(await request.text())) {
      try {
        const answer = await fetch(target.replace("tcp://", "http://"));
        found[target] = `${answer.status} ${answer.headers.get("x-ambit-reason")}`;
      } catch (error) {
        found[target] = String(error.name);
      }
    }
    return new Response(JSON.stringify(found));
  }
};
"""


@dataclass(frozen=True)
class Targets:
    """Addresses that exist and listen, by who may reach them where Ambit's boundaries are not."""

    anybody: list[str]
    the_gateway: list[str]

    @property
    def all(self) -> list[str]:
        return [*self.anybody, *self.the_gateway]


@pytest.fixture
def targets(cluster: Cluster, scripted_model: str, neighbour: str) -> Targets:
    api = cluster.get("service", "kubernetes", "--namespace", "default")["spec"]["clusterIP"]
    endpoints = cluster.get("endpoints", "kubernetes", "--namespace", "default")["subsets"][0]
    (node, *_) = cluster.get("nodes")["items"]
    node_ip = next(a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP")
    ledger = cluster.get("service", "ambit-ledger", "--namespace", "ambit-system")["spec"]["clusterIP"]
    gateway = cluster.get("service", "ambit-gateway", "--namespace", "ambit-system")["spec"]["clusterIP"]
    selector = "ambit.dev/component=gateway,app.kubernetes.io/instance=ambit"
    (pod, *_) = cluster.get("pods", "--namespace", "ambit-system", "--selector", selector)["items"]
    return Targets(
        anybody=[
            f"tcp://{api}:443",
            f"tcp://{endpoints['addresses'][0]['ip']}:{endpoints['ports'][0]['port']}",
            f"tcp://{node_ip}:10250",
            f"tcp://{neighbour}:9000",
            f"tcp://{gateway}:8443",
            f"tcp://{pod['status']['podIP']}:9090",
        ],
        the_gateway=[f"tcp://{scripted_model}", f"tcp://{ledger}:8090"],
    )


def a_plain_pod(
    name: str, image: str, source: str, given: str, labels: dict[str, str] | None = None
) -> dict[str, object]:
    """A pod of the same image, with none of our boundaries."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {
                    "name": name,
                    "image": image,
                    "command": ["python3", "-c", source],
                    "env": [{"name": "AMBIT_INPUT", "value": given}],
                }
            ],
        },
    }


@pytest.fixture
def neighbour(cluster: Cluster, namespace: str) -> str:
    """The address of a pod beside the sandboxes that listens on 9000."""
    image = cluster.installed.images["ambit-workspace"]
    source = "import http.server as h; h.test(h.SimpleHTTPRequestHandler, port=9000)"
    cluster.apply(namespace, a_plain_pod("neighbour", image, source, ""))
    cluster.wait_ready(namespace, "pod/neighbour")
    return str(cluster.get("pod", "neighbour", "--namespace", namespace)["status"]["podIP"])


def a_team_with_probes(cluster: Cluster, namespace: str) -> None:
    image = cluster.installed.images["ambit-workspace"]
    cluster.apply(
        namespace,
        a_budget(),
        a_route(),
        a_pool(),
        code(ISOLATE_PROBE),
        an_agent("container", a_container(image, "python3", "-c", PROBE)),
        an_agent("isolate", an_isolate()),
    )
    cluster.wait_ready(namespace, "agent/container", "agent/isolate", "sandboxpool/default")


def names_and_dns(cluster: Cluster) -> list[str]:
    dns = cluster.get("service", "kube-dns", "--namespace", "kube-system")["spec"]["clusterIP"]
    return [f"dns://{dns}?kubernetes.default.svc.cluster.local", "name:kubernetes.default.svc.cluster.local"]


def probed(cluster: Cluster, namespace: str, name: str, wanted: list[str], labels: dict[str, str] | None = None) -> Any:
    """What a pod without our boundaries found."""
    image = cluster.installed.images["ambit-workspace"]
    cluster.apply(namespace, a_plain_pod(name, image, PROBE, json.dumps(wanted), labels))
    try:
        done = "--for=jsonpath={.status.phase}=Succeeded"
        cluster.kubectl("wait", "--namespace", namespace, done, f"pod/{name}", "--timeout=240s")
        return json.loads(cluster.kubectl("logs", name, "--namespace", namespace))
    finally:
        cluster.kubectl("delete", "pod", name, "--namespace", namespace, "--wait=false")


def test_without_the_boundary_the_probe_reaches_everything(cluster: Cluster, namespace: str, targets: Targets) -> None:
    wanted = [*targets.anybody, *names_and_dns(cluster)]
    assert probed(cluster, namespace, "free", wanted) == dict.fromkeys(wanted, "reached")
    # A model's server and the ledger let in the gateway alone: so a pod that has its label tries them.
    labels = {"ambit.dev/component": "gateway"}
    found = probed(cluster, "ambit-system", f"probe-{namespace}", targets.the_gateway, labels)
    assert found == dict.fromkeys(targets.the_gateway, "reached")


def an_open_policy(direction: str) -> dict[str, object]:
    """Takes our boundary away: policies add up, and this one lets everything through."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": f"open-{direction.lower()}"},
        "spec": {"podSelector": {}, "policyTypes": [direction], direction.lower(): [{}]},
    }


def test_with_its_policy_opened_a_sandbox_reaches_everything(
    cluster: Cluster, namespace: str, targets: Targets
) -> None:
    """It is the policy that holds, and nothing else that would be broken by chance."""
    a_team_with_probes(cluster, namespace)
    cluster.apply(namespace, an_open_policy("Egress"))
    session = cluster.run(f"{namespace}/container", json.dumps(targets.anybody))
    assert json.loads(session.output.splitlines()[-1]) == dict.fromkeys(targets.anybody, "reached")
    assert probed_in_host(cluster, namespace, targets.anybody) == dict.fromkeys(targets.anybody, "reached")


def test_a_container_reaches_the_gateway_and_nothing_else(cluster: Cluster, namespace: str, targets: Targets) -> None:
    a_team_with_probes(cluster, namespace)
    gateway = cluster.get("service", "ambit-gateway", "--namespace", "ambit-system")["spec"]["clusterIP"]
    wanted = [GATEWAY, *targets.all, f"tcp://{gateway}:8081", *names_and_dns(cluster)]
    session = cluster.run(f"{namespace}/container", json.dumps(wanted))
    found = json.loads(session.output.splitlines()[-1])
    assert {target for target, outcome in found.items() if outcome == "reached"} == {GATEWAY}
    assert set(found) == set(wanted)


def test_an_isolate_reaches_the_gateway_and_nothing_else(cluster: Cluster, namespace: str, targets: Targets) -> None:
    a_team_with_probes(cluster, namespace)
    wanted = [*targets.all, "tcp://169.254.169.254:80", "tcp://example.com:80"]
    session = cluster.run(f"{namespace}/isolate", json.dumps(wanted))
    assert json.loads(session.output) == dict.fromkeys(wanted, "403 HostNotAllowed")


def probed_in_host(cluster: Cluster, namespace: str, wanted: list[str]) -> Any:
    """What a process in the isolate host's pod, beside the supervisor, found."""
    source = f"import os; os.environ['AMBIT_INPUT'] = {json.dumps(wanted)!r}\n{PROBE}"
    said = cluster.kubectl(*("exec", "--namespace", namespace, "default-isolate-host-0", "--", "python3", "-c", source))
    return json.loads(said.splitlines()[-1])


def test_the_isolate_hosts_pod_reaches_the_gateway_and_nothing_else(
    cluster: Cluster, namespace: str, targets: Targets
) -> None:
    """Should agents' code ever break out of workerd, the pod's boundary stands."""
    a_team_with_probes(cluster, namespace)
    wanted = [*targets.all, *names_and_dns(cluster), "tcp://gateway.ambit:8081"]
    found = probed_in_host(cluster, namespace, wanted)
    assert {target for target, outcome in found.items() if outcome == "reached"} == {"tcp://gateway.ambit:8081"}


def test_a_container_has_no_way_to_be_reached(cluster: Cluster, namespace: str) -> None:
    """Another pod of the namespace finds nothing at a sandbox's address, though a server listens there."""
    image = cluster.installed.images["ambit-workspace"]
    serve = "import http.server as h; h.test(h.SimpleHTTPRequestHandler, port=9000)"
    agent = an_agent("server", a_container(image, "python3", "-u", "-c", serve), bounds={"runtime": "1m"})
    cluster.apply(namespace, a_budget(), a_route(), agent)
    cluster.wait_ready(namespace, "agent/server")
    running = cluster.start(f"{namespace}/server", "")
    try:

        def address() -> str | None:
            pods = cluster.get("pods", "--namespace", namespace, "--selector", "ambit.dev/component=sandbox")["items"]
            started = [pod for pod in pods if pod["status"].get("phase") == "Running"]
            return str(started[0]["status"]["podIP"]) if started else None

        cluster.wait("the sandbox runs", lambda: address() is not None)
        target = f"tcp://{address()}:9000"
        assert probed(cluster, namespace, "caller", [target])[target] != "reached"
        # With the boundary taken away the same address answers: something does listen there.
        cluster.apply(namespace, an_open_policy("Ingress"))
        cluster.wait("it answers", lambda: probed(cluster, namespace, "free", [target])[target] == "reached")
    finally:
        running.terminate()
        running.communicate(timeout=180)


def test_a_sandbox_carries_no_credential_but_its_own(cluster: Cluster, namespace: str) -> None:
    image = cluster.installed.images["ambit-workspace"]
    look = (
        "import json, os; "
        "print(json.dumps([os.path.exists('/var/run/secrets/kubernetes.io'), os.getuid(), "
        "int(next(l for l in open('/proc/self/status') if l.startswith('CapEff')).split()[1], 16)]))"
    )
    cluster.apply(namespace, a_budget(), a_route(), an_agent("looker", a_container(image, "python3", "-c", look)))
    cluster.wait_ready(namespace, "agent/looker")
    session = cluster.run(f"{namespace}/looker", "")
    assert json.loads(session.output.splitlines()[-1]) == [False, 65532, 0]
