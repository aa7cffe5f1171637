"""An embedded node for real: both runtimes, network policy, storage, images, and the machine as it was afterwards."""

import json
import os
import signal
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster import images
from e2e.cluster.commands import succeeds, wait_until
from e2e.cluster.embedded.addons import write_images
from e2e.cluster.embedded.containerd import Containerd
from e2e.cluster.embedded.layout import DNS_SERVICE
from e2e.cluster.embedded.provider import Embedded
from e2e.cluster.progress import Progress
from e2e.cluster.provider import Wanted
from e2e.cluster.upstream import build
from e2e.cluster.upstream.catalogue import COREDNS, NODE_TOOLS
from tests.e2e_cluster import machine_state
from tests.e2e_cluster.own_cluster import DEADLINE_S, NAME, kubectl, running, the_machine

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.machine,
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.geteuid() != 0, reason="the embedded cluster needs root"),
]
RUNTIMES = ("runc", "gvisor")
ONE_NODE = Wanted(nodes=1, fake_nodes=0)


@pytest.fixture(scope="module")
def before() -> machine_state.MachineState:
    Embedded(NAME, Progress()).down()
    return the_machine()


@pytest.fixture(scope="module")
def cluster(before: machine_state.MachineState) -> Generator[Embedded]:
    """A cluster of two nodes; the last test of this module ends it."""
    cluster = Embedded(NAME, Progress())
    cluster.up(Wanted(nodes=2, fake_nodes=0))
    yield cluster
    cluster.down()


@pytest.fixture(scope="module")
def tools(cluster: Embedded) -> str:
    """The image of the node's own tools: `pause` to hold a pod, `reach` to try the network."""
    binaries = build.ensure([NODE_TOOLS, COREDNS], Progress())
    return write_images(running()[0], binaries).node_tools


@pytest.fixture(scope="module", params=RUNTIMES)
def pod(request: pytest.FixtureRequest, cluster: Embedded, tools: str) -> str:
    """A restricted pod that is ready, in each runtime."""
    name = f"pod-{request.param}"
    a_pod(cluster, name, tools, runtime=request.param)
    return name


def a_pod(cluster: Embedded, name: str, image: str, runtime: str = "runc", until: str = "Running", **spec: Any) -> None:
    """Returns when its phase is `until`."""
    container = {
        "name": "main",
        "image": image,
        "imagePullPolicy": "Never",
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        **spec.pop("container", {}),
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"pod": name}},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
            **({"runtimeClassName": "gvisor"} if runtime == "gvisor" else {}),
            **spec,
        },
    }
    kubectl(cluster, "apply", "--filename=-", stdin=json.dumps(pod))
    kubectl(cluster, "wait", f"pod/{name}", f"--for=jsonpath={{.status.phase}}={until}", f"--timeout={DEADLINE_S}s")


def reaches(cluster: Embedded, pod: str, address: str) -> bool:
    program = str(running()[0].binaries / "kubectl")
    return succeeds([program, f"--kubeconfig={cluster.kubeconfig()}", "exec", pod, "--", "/reach", address])


def a_policy(cluster: Embedded, pod: str) -> None:
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": f"closed-{pod}"},
        "spec": {"podSelector": {"matchLabels": {"pod": pod}}, "policyTypes": ["Egress"]},
    }
    kubectl(cluster, "apply", "--filename=-", stdin=json.dumps(policy))


def test_a_running_cluster_changes_no_setting_no_mount_and_no_firewall_of_the_machine(
    cluster: Embedded, before: machine_state.MachineState
) -> None:
    difference = the_machine().difference(before)
    assert {"links", "routes", "cgroups"} <= set(difference)
    assert set(difference) <= {"links", "routes", "cgroups", "folders"}, difference


def test_only_gvisor_pods_have_a_kernel_of_their_own(cluster: Embedded, pod: str) -> None:
    machines = Path("/proc/sys/kernel/osrelease").read_text()
    own = kubectl(cluster, "exec", pod, "--", "/kernel")
    assert (own != machines) == (pod == "pod-gvisor"), own


def test_pods_reach_services_by_name_and_the_api(cluster: Embedded, pod: str) -> None:
    assert reaches(cluster, pod, f"{DNS_SERVICE}:53")
    assert reaches(cluster, pod, "kubernetes.default.svc.cluster.local:443")
    assert not reaches(cluster, pod, "no-such-name.default.svc.cluster.local:443")


def test_pods_have_no_way_out_of_the_machine(cluster: Embedded, pod: str) -> None:
    gateway = next(line.split()[2] for line in the_machine().routes if line.startswith("default via"))
    assert not reaches(cluster, pod, f"{gateway}:53")


def test_a_policy_closes_a_pod_and_its_removal_opens_it(cluster: Embedded, pod: str) -> None:
    assert reaches(cluster, pod, f"{DNS_SERVICE}:53")
    a_policy(cluster, pod)
    try:
        assert wait_until(lambda: not reaches(cluster, pod, f"{DNS_SERVICE}:53"), DEADLINE_S)
        assert not reaches(cluster, pod, f"{running()[0].host}:6443")
    finally:
        kubectl(cluster, "delete", "networkpolicy", f"closed-{pod}")
    assert wait_until(lambda: reaches(cluster, pod, f"{DNS_SERVICE}:53"), DEADLINE_S)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_pod_that_starts_under_a_policy_is_closed_from_its_first_moment(
    cluster: Embedded, tools: str, runtime: str
) -> None:
    name = f"tries-{runtime}"
    a_policy(cluster, name)
    command = ["/never-reach", "3s", f"{DNS_SERVICE}:53"]
    a_pod(cluster, name, tools, runtime, until="Succeeded", container={"command": command}, restartPolicy="Never")


def test_pods_of_two_nodes_reach_each_other(cluster: Embedded, tools: str, pod: str) -> None:
    for number in (1, 2):
        name = f"server-{number}"
        a_pod(cluster, name, tools, nodeName=f"node-{number}", container={"command": ["/listen", ":8000"]})
        address = kubectl(cluster, "get", "pod", name, "--output=jsonpath={.status.podIP}")
        assert wait_until(partial(reaches, cluster, pod, f"{address}:8000"), DEADLINE_S)


def test_a_claim_without_a_class_is_bound_and_its_folder_is_writable(cluster: Embedded, tools: str) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Mi"}}},
    }
    kubectl(cluster, "apply", "--filename=-", stdin=json.dumps(claim))
    a_pod(
        *(cluster, "writer", tools),
        container={"volumeMounts": [{"name": "data", "mountPath": "/data"}]},
        volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
    )
    kubectl(cluster, "exec", "writer", "--", "/setup", "-p", "/data/folder")
    volumes = running()[0].state / "volumes"
    assert [path.name for path in volumes.glob("*/folder")] == ["folder"]


def test_only_layers_that_a_node_lacks_are_sent(cluster: Embedded, tmp_path: Path) -> None:
    tool = build.ensure([NODE_TOOLS], Progress())["node-tools"]
    layout, session = running()
    one, other = tmp_path / "one", tmp_path / "other"
    images.write_layout(one, "ambit.dev/test:one", {"/pause": tool, "/extra": Path(__file__)}, ["/pause"])
    images.write_layout(other, "ambit.dev/test:other", {"/pause": tool, "/extra": Path(__file__)}, ["/pause", "again"])
    first, second = images.read(one), images.read(other)
    assert first.layers == second.layers
    assert first.digest != second.digest
    containerd = Containerd(session, layout.node(1))

    assert containerd.load(first)
    assert not containerd.load(first)
    assert set(second.layers) <= containerd.blobs()
    (other / images.blob_path(second.layers[0])).unlink()
    assert containerd.load(second)

    cluster.load([str(one)])
    assert containerd.references()["ambit.dev/test:other"] == second.digest
    a_pod(cluster, "loaded", "ambit.dev/test:other", nodeName="node-1")


def test_status_shows_every_process_and_node(cluster: Embedded) -> None:
    components = {component.name: component for component in cluster.status()}
    assert {"node-1", "node-2", "API", "kubelet-node-1", "containerd-node-2", "felix-node-1"} <= set(components)
    assert all(component.healthy for component in components.values())


def test_killing_its_first_process_ends_pods_and_mounts_too_and_a_new_cluster_starts(
    cluster: Embedded, before: machine_state.MachineState
) -> None:
    _, supervisor = running()

    os.kill(supervisor.pid, signal.SIGKILL)

    assert wait_until(lambda: machine_state.processes_of(NAME) == set(), DEADLINE_S)
    killed = the_machine().difference(before)
    assert set(killed) <= {"links", "routes", "cgroups", "folders"}, killed
    cluster.up(ONE_NODE)
    assert all(component.healthy for component in cluster.status())


def test_down_leaves_the_machine_as_it_was(cluster: Embedded, before: machine_state.MachineState) -> None:
    cluster.up(ONE_NODE)
    cluster.down()
    assert the_machine().difference(before) == {}
    assert machine_state.processes_of(NAME) == set()
