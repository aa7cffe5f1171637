"""Ambit installed on a real cluster, namespaces of a test's own, and sessions run as a person runs them."""

import fcntl
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.cluster.progress import Progress
from e2e.install import Installed, install
from e2e.stages.catalogue import NODE
from tests.cluster.manifests import MODEL_NAMESPACE, a_scripted_model

Manifest = dict[str, Any]
AMBIT = str(Path(sys.executable).parent / "ambit")
POLL_S = 0.2
GONE_WITHIN_S = 240


@dataclass(frozen=True)
class Session:
    """What a person saw of a session: its output, what was said at its end, and the exit code."""

    output: str
    said: str
    exit_code: int


@dataclass(frozen=True)
class Cluster:
    """The cluster under test, from a person's side."""

    installed: Installed

    def kubectl(self, *arguments: str, stdin: str | None = None, accepted: tuple[int, ...] = (0,)) -> str:
        return self.installed.kubectl(*arguments, stdin=stdin, accepted=accepted)

    def apply(self, namespace: str, *manifests: Manifest) -> None:
        self.kubectl("apply", "--namespace", namespace, "--filename", "-", stdin=yaml.safe_dump_all(manifests))

    def get(self, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", *arguments, "--output", "json"))

    def wait(self, what: str, condition: Callable[[], bool], within_s: float = 240) -> None:
        """Polls until the condition holds; fails with what was waited for."""
        deadline = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
            time.sleep(POLL_S)

    def wait_ready(self, namespace: str, *objects: str, within_s: float = 240) -> None:
        self.kubectl("wait", "--namespace", namespace, "--for=condition=Ready", f"--timeout={within_s:.0f}s", *objects)

    def ambit(self, *arguments: str, kubeconfig: Path | None = None) -> "subprocess.CompletedProcess[str]":
        """One `ambit` command, to its end, whatever its exit code; as the administrator, unless told otherwise."""
        environment = {**os.environ, "KUBECONFIG": str(kubeconfig or self.installed.kubeconfig)}
        return subprocess.run(
            [AMBIT, *arguments], env=environment, capture_output=True, text=True, check=False, timeout=180
        )

    def start(self, agent: str, given: str) -> "subprocess.Popen[str]":
        """`ambit run`, going on beside the test."""
        return subprocess.Popen(
            [AMBIT, "run", agent, given],
            env={**os.environ, "KUBECONFIG": str(self.installed.kubeconfig)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, agent: str, given: str, within_s: float = 240) -> Session:
        """`ambit run`, to its end."""
        process = self.start(agent, given)
        output, said = process.communicate(timeout=within_s)
        return Session(output, said, process.returncode)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """Ambit, installed by the chart from images of this checkout, on the cluster that the stage brought up."""
    name = os.environ.get("AMBIT_CLUSTER", NODE.name)
    return Cluster(_installed_once(name, shared_folder(tmp_path_factory)))


def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of this run share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@contextmanager
def one_at_a_time(folder: Path, what: str) -> Generator[None]:
    """Keeps the other processes of this run out while the block runs."""
    with (folder / f"{what}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _installed_once(name: str, folder: Path) -> Installed:
    """Installs, unless another of this run's processes has."""
    record = folder / "installed.json"
    with one_at_a_time(folder, "installed"):
        if not record.exists():
            done = install(name, None, Progress())
            record.write_text(json.dumps({"kubeconfig": str(done.kubeconfig), "images": dict(done.images)}))
    there = json.loads(record.read_text())
    return Installed(Path(there["kubeconfig"]), there["images"])


@pytest.fixture(scope="session")
def namespaces(cluster: Cluster) -> Iterator[list[str]]:
    """The names of all tests' namespaces. That each goes away is checked at the end: deletion leaves nothing behind."""
    made: list[str] = []
    yield made
    if made:
        names = [f"namespace/{name}" for name in made]
        cluster.kubectl("wait", "--for=delete", *names, f"--timeout={GONE_WITHIN_S}s")


@pytest.fixture
def namespace(cluster: Cluster, namespaces: list[str]) -> Iterator[str]:
    """A namespace for one test. Kubernetes takes some ten seconds to delete one, so the next test begins meanwhile."""
    name = f"t-{uuid.uuid4().hex[:8]}"
    cluster.kubectl("create", "namespace", name)
    namespaces.append(name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="session")
def scripted_model(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The scripted model server, reachable by the gateway alone; its address, HOST:PORT."""
    manifests = yaml.safe_dump_all(a_scripted_model(cluster.installed.images))
    # Two that apply what is not there yet both create it, and one of them fails.
    with one_at_a_time(shared_folder(tmp_path_factory), "scripted-model"):
        cluster.kubectl("apply", "--filename", "-", stdin=manifests)
    cluster.kubectl("rollout", "status", "deployment/scripted", "--namespace", MODEL_NAMESPACE, "--timeout=300s")
    service = cluster.get("service", "scripted", "--namespace", MODEL_NAMESPACE)
    return f"{service['spec']['clusterIP']}:8080"
