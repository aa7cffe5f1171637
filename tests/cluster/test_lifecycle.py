"""Uninstalling ends every session and leaves no finalizer; the ledger's volume stays, and a reinstall finds it."""

import re

import pytest

from e2e.cluster.progress import Progress
from e2e.install import NAMESPACE, install_chart, uninstall_chart
from tests.cluster.conftest import Cluster
from tests.cluster.manifests import a_budget, a_container, a_pool, a_route, an_agent

pytestmark = [pytest.mark.cluster, pytest.mark.disruptive, pytest.mark.timeout(900)]
FOR_EVER = "import time\nwhile True: print('working', flush=True); time.sleep(1)"


def seconds(duration: str) -> float:
    """A GEP-2257 duration of minutes, seconds and milliseconds."""
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
    return sum(float(n) * units[u] for n, u in re.findall(r"(\d+)(ms|h|m|s)", duration))


def test_uninstall_ends_everything_and_a_reinstall_remembers(cluster: Cluster, namespace: str) -> None:
    image = cluster.installed.images["ambit-workspace"]
    team = a_budget(limits=[{"window": "Lifetime", "runtime": "1h"}])
    cluster.apply(namespace, team, a_route(), a_pool(), an_agent("busy", a_container(image, "python3", "-c", FOR_EVER)))
    cluster.wait_ready(namespace, "agent/busy", "sandboxpool/default")
    session = cluster.start(f"{namespace}/busy", "")
    try:
        cluster.wait(
            "the session runs",
            lambda: "Running" in cluster.kubectl("get", "pods", "-n", namespace, "-l", "ambit.dev/component=sandbox"),
        )
        uninstall_chart(cluster.installed.kubeconfig, Progress())
        session.communicate(timeout=180)
    finally:
        session.kill()
        session.wait()
    try:
        assert session.returncode != 0
        pods = cluster.get("pods", "--namespace", namespace)["items"]
        assert [pod["metadata"]["name"] for pod in pods if pod["status"]["phase"] in ("Pending", "Running")] == []
        sandboxes = cluster.get("sandboxes", "--namespace", namespace)["items"]
        assert [s["metadata"]["name"] for s in sandboxes if s["metadata"].get("finalizers")] == []
        assert len(cluster.get("crds")["items"]) >= 5
        claim = cluster.get("persistentvolumeclaim", "ambit-ledger", "--namespace", NAMESPACE)
        assert claim["status"]["phase"] == "Bound"
        # The Budget goes while nobody watches, and comes back: the ledger remembers it by its name.
        cluster.kubectl("delete", "budget", "team", "--namespace", namespace, "--timeout=180s")
    finally:
        install_chart(cluster.installed.kubeconfig, cluster.installed.images, Progress())
    cluster.apply(namespace, team)
    cluster.wait_ready(namespace, "budget/team")

    def remembered() -> bool:
        limits = cluster.get("budget", "team", "--namespace", namespace)["status"].get("limits", [])
        return any(seconds(usage["spent"]) > 0 for limit in limits for usage in limit["usage"])

    cluster.wait("the runtime that was spent before is still spent", remembered)
