"""The embedded control plane for real: what it listens on, its processes, its API, and another one beside it."""

import json
import os
import signal
from collections.abc import Generator
from pathlib import Path

import pytest

from e2e.cluster.commands import run, wait_until
from e2e.cluster.embedded.provider import Embedded
from e2e.cluster.errors import StepFailed
from e2e.cluster.progress import Progress
from e2e.cluster.provider import Wanted
from tests.e2e_cluster import machine_state
from tests.e2e_cluster.own_cluster import CONTROL_PLANE, DEADLINE_S, NAME, OTHER, kubectl, running

pytestmark = [
    pytest.mark.integration,
    pytest.mark.machine,
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.geteuid() != 0, reason="the embedded cluster needs root"),
]
# etcd for clients and peers, apiserver, controller-manager, scheduler.
PORTS = {"2379", "2380", "6443", "10257", "10259"}


@pytest.fixture(scope="module")
def cluster() -> Generator[Embedded]:
    """One for all of these tests: none takes away what another needs."""
    cluster = Embedded(NAME, Progress())
    cluster.down()
    cluster.up(CONTROL_PLANE)
    yield cluster
    cluster.down()


def test_nothing_of_it_listens_beyond_the_bridge(cluster: Embedded) -> None:
    host = running()[0].host

    def all_listen() -> bool:
        return {address.rpartition(":")[2] for address in machine_state.listeners(NAME)} == PORTS

    assert wait_until(all_listen, DEADLINE_S), machine_state.listeners(NAME)
    assert {address.rpartition(":")[0] for address in machine_state.listeners(NAME)} == {str(host)}


def test_a_second_up_starts_nothing(cluster: Embedded) -> None:
    first = machine_state.processes_of(NAME)
    cluster.up(CONTROL_PLANE)
    assert machine_state.processes_of(NAME) == first


def test_a_process_that_dies_is_started_again(cluster: Embedded) -> None:
    _, supervisor = running()
    scheduler = next(
        process
        for process in machine_state.processes_of(NAME)
        if Path(f"/proc/{process}/cmdline").read_bytes().startswith(b"kube-scheduler\0")
    )
    os.kill(scheduler, signal.SIGKILL)
    assert wait_until(lambda: supervisor.processes()["kube-scheduler"].starts == 2, DEADLINE_S)
    assert wait_until(lambda: supervisor.processes()["kube-scheduler"].running, DEADLINE_S)


def test_clusters_of_two_names_stand_side_by_side(cluster: Embedded) -> None:
    other = Embedded(OTHER, Progress())
    try:
        other.up(CONTROL_PLANE)
        kubectl(cluster, "create", "namespace", "only-here")
        here, there = running(NAME)[0], running(OTHER)[0]
        assert not here.subnet.overlaps(there.subnet)
        arguments = [str(there.binaries / "kubectl"), f"--kubeconfig={other.kubeconfig()}", "get", "namespaces"]
        assert "only-here" not in run(arguments)
        other.down()
        assert all(component.healthy for component in cluster.status())
    finally:
        other.down()


def test_a_token_for_an_audience_is_reviewed_for_that_audience_alone(cluster: Embedded) -> None:
    token = kubectl(cluster, "create", "token", "default", "--audience=ambit-gateway").strip()

    def reviewed(audience: str) -> bool:
        review = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [audience]},
        }
        answer = kubectl(cluster, "create", "--output=json", "--filename=-", stdin=json.dumps(review))
        return json.loads(answer)["status"].get("authenticated", False)

    assert reviewed("ambit-gateway")
    assert not reviewed("ambit-ledger")


def test_the_authority_of_client_certificates_is_published(cluster: Embedded) -> None:
    data = kubectl(
        *(cluster, "get", "configmap", "extension-apiserver-authentication", "--namespace=kube-system"),
        "--output=jsonpath={.data.client-ca-file}",
    )
    assert data.strip() == (running()[0].certificates / "ca.crt").read_text().strip()


def test_pods_are_admitted_by_pod_security(cluster: Embedded) -> None:
    kubectl(cluster, "create", "namespace", "strict")
    kubectl(cluster, "label", "namespace", "strict", "pod-security.kubernetes.io/enforce=restricted")
    assert wait_until(
        lambda: "default" in kubectl(cluster, "get", "sa", "--namespace=strict", "--output=name"), DEADLINE_S
    )
    with pytest.raises(Exception, match='violates PodSecurity "restricted:latest"'):
        kubectl(cluster, "run", "loose", "--namespace=strict", "--image=any")


def test_fake_nodes_are_ready_and_take_only_pods_that_ask_for_them(cluster: Embedded) -> None:
    cluster.up(Wanted(nodes=0, fake_nodes=2))
    nodes = json.loads(kubectl(cluster, "get", "nodes", "--output=json"))["items"]
    assert [node["metadata"]["name"] for node in nodes] == ["fake-0", "fake-1"]
    for node in nodes:
        assert {"type": "Ready", "status": "True"}.items() <= next(
            condition for condition in node["status"]["conditions"] if condition["type"] == "Ready"
        ).items()
        assert ("kwok.x-k8s.io/node", "NoSchedule") in [
            (taint["key"], taint["effect"]) for taint in node["spec"]["taints"]
        ]


def test_a_process_that_cannot_live_is_named_with_the_end_of_its_log(cluster: Embedded) -> None:
    _, supervisor = running()
    supervisor.start("broken", ["sh", "-c", "echo this is why; exit 1"])
    with pytest.raises(StepFailed, match="this is why") as failure:
        supervisor.wait(["broken"], lambda: False)
    assert "logs/broken.log" in str(failure.value)
