"""What docs/own-cluster.md applies: all of it becomes ready, and who may run the Agent runs it, and may no more."""

import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from e2e.cluster.progress import Progress
from e2e.cluster.upstream.build import client
from tests.cluster.conftest import Cluster, Manifest
from tests.cluster.manifests import MODEL_NAMESPACE
from tests.own_cluster import runner_kubeconfig

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
TEAM = Path(__file__).parents[2] / "examples" / "own-cluster" / "team.yaml"
READY = {"Budget", "ModelRoute", "SandboxPool", "Agent"}


@pytest.fixture
def prefix(cluster: Cluster) -> Iterator[str]:
    """What the names of this test's namespaces begin with; they go when it is over, with all that is in them."""
    name = f"own-{uuid.uuid4().hex[:6]}"
    yield name
    cluster.kubectl(
        *("delete", "namespace", f"{name}-platform", f"{name}-team-a", "--ignore-not-found", "--timeout=240s")
    )
    cluster.kubectl("delete", "rolebinding", f"ambit-connect-{name}-team-a", "-n", "ambit-system", "--ignore-not-found")


def as_shown(prefix: str) -> list[Manifest]:
    """The file, in namespaces of the test's own, with the scripted model server in the provider's place."""
    text = re.sub(r"\b(platform|team-a)\b", rf"{prefix}-\1", TEAM.read_text())
    text = text.replace("https://api.openai.com", f"http://scripted.{MODEL_NAMESPACE}.svc:8080")
    return [each for each in yaml.safe_load_all(text.replace("gpt-6-luna", "scripted")) if each]


@pytest.mark.usefixtures("scripted_model")
def test_all_of_it_becomes_ready_and_is_run_by_who_may(cluster: Cluster, prefix: str, tmp_path: Path) -> None:
    platform, team = f"{prefix}-platform", f"{prefix}-team-a"
    manifests = as_shown(prefix)
    cluster.kubectl("apply", "--filename", "-", stdin=yaml.safe_dump_all(manifests))

    def reason() -> str:
        conditions = cluster.get("modelroute", "smart", "--namespace", platform).get("status", {}).get("conditions", [])
        return next((each["reason"] for each in conditions if each["type"] == "Ready"), "")

    cluster.wait("without its Secret the route says so", lambda: reason() == "SecretMissing")
    cluster.kubectl("create", "secret", "generic", "openai", "-n", platform, "--from-literal=apiKey=not-a-key")
    for each in (each for each in manifests if each["kind"] in READY):
        where = each["metadata"]
        cluster.wait_ready(where["namespace"], f"{each['kind'].lower()}/{where['name']}")

    runner = runner_kubeconfig(cluster.installed.kubeconfig, client("kubectl", Progress()), team, tmp_path)
    answer = cluster.ambit("run", f"{team}/researcher", "What changed in TLS 1.3?", kubeconfig=runner)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert answer.stdout.strip()
    assert "Completed" in answer.stderr
    listed = cluster.ambit("sessions", team, "-a", kubeconfig=runner)
    assert "researcher" in listed.stdout, listed.stderr

    def may(verb: str, resource: str, where: str) -> str:
        """What RBAC says; `resource` may name a subresource."""
        kind, _, subresource = resource.partition("/")
        asked = (verb, kind, *([f"--subresource={subresource}"] if subresource else []))
        who = f"--as=system:serviceaccount:{team}:runner"
        return cluster.kubectl("auth", "can-i", *asked, "--namespace", where, who, accepted=(0, 1)).strip()

    assert may("create", "agents.ambit.dev/sessions", team) == "yes"
    for verb, resource, where in (
        *(("update", "budgets.ambit.dev", place) for place in (platform, team)),
        *(("create", "agents.ambit.dev", place) for place in (platform, team)),
        ("create", "agents.ambit.dev/sessions", platform),
        ("get", "secrets", platform),
    ):
        assert may(verb, resource, where) == "no", (verb, resource, where)
