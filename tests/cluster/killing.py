"""SIGKILL of one process in a pod, from outside its namespaces or, where gVisor hides it from there, from inside."""

import os
import signal
from pathlib import Path

from tests.cluster.conftest import Cluster, Manifest

CONTROL_PLANE = "ambit-system"


def processes_of(pod_uid: str, needle: str) -> list[int]:
    """Host pids of a pod's processes whose command line has `needle`. The pod's UID is in their cgroup's path."""
    found: list[int] = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if pod_uid in (folder / "cgroup").read_text() and needle in (folder / "cmdline").read_text():
                found.append(int(folder.name))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
    return found


def kill_component(cluster: Cluster, component: str) -> None:
    """SIGKILL to the process of a control-plane pod; returns once the container that replaces it is ready."""
    selector = f"ambit.dev/component={component}"

    def pods() -> list[Manifest]:
        return cluster.get("pods", "--namespace", CONTROL_PLANE, "--selector", selector)["items"]

    before = {pod["metadata"]["uid"]: _restarts(pod) for pod in pods()}
    for uid in before:
        pids = processes_of(uid, component)
        assert pids, f"no process of {component} was found"
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    def back() -> bool:
        return all(_restarts(pod) > before[pod["metadata"]["uid"]] and _is_ready(pod) for pod in pods())

    cluster.wait(f"{component} is back", back)


def kill_in_host(cluster: Cluster, namespace: str, needle: str) -> None:
    """SIGKILL to a process inside an isolate host: done inside, since the machine sees none of gVisor's processes."""
    source = (
        "import os, signal, pathlib\n"
        "for p in pathlib.Path('/proc').iterdir():\n"
        "    if p.name.isdigit() and int(p.name) != os.getpid():\n"
        f"        if {needle!r} in (p / 'cmdline').read_text(): os.kill(int(p.name), signal.SIGKILL)\n"
    )
    # Where it ends the container, it ends itself with it: 137.
    cluster.kubectl(
        *("exec", "--namespace", namespace, "default-isolate-host-0", "--", "python3", "-c", source), accepted=(0, 137)
    )


def _restarts(pod: Manifest) -> int:
    return sum(container["restartCount"] for container in pod["status"].get("containerStatuses", []))


def _is_ready(pod: Manifest) -> bool:
    return any(found["type"] == "Ready" and found["status"] == "True" for found in pod["status"].get("conditions", []))
