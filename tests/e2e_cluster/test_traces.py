"""What an embedded control plane leaves on the machine once it has ended, whichever way: nothing."""

import os
import signal
import subprocess
import sys
from collections.abc import Generator

import pytest

from e2e.cluster.commands import wait_until
from e2e.cluster.embedded.provider import Embedded
from e2e.cluster.errors import NotRunning
from e2e.cluster.progress import Progress
from tests.e2e_cluster import machine_state
from tests.e2e_cluster.own_cluster import CONTROL_PLANE, DEADLINE_S, NAME, kubectl, running, the_machine

pytestmark = [
    pytest.mark.integration,
    pytest.mark.machine,
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.geteuid() != 0, reason="the embedded cluster needs root"),
]


@pytest.fixture
def cluster() -> Generator[Embedded]:
    """One that is not there yet."""
    cluster = Embedded(NAME, Progress())
    cluster.down()
    yield cluster
    cluster.down()


def test_it_leaves_the_machine_as_it_was(cluster: Embedded) -> None:
    before = the_machine()
    cluster.up(CONTROL_PLANE)
    layout, _ = running()
    during = the_machine().difference(before)
    assert set(during) <= {"links", "routes", "folders"}, during
    assert during["links"] == [layout.bridge]
    assert machine_state.processes_of(NAME)

    cluster.down()

    assert the_machine().difference(before) == {}
    assert machine_state.processes_of(NAME) == set()
    assert cluster.status() == []
    with pytest.raises(NotRunning):
        cluster.kubeconfig()


def test_killing_its_first_process_ends_it_all_and_the_next_up_begins_anew(cluster: Embedded) -> None:
    before = the_machine()
    cluster.up(CONTROL_PLANE)
    kubectl(cluster, "create", "namespace", "before-the-kill")
    _, supervisor = running()

    os.kill(supervisor.pid, signal.SIGKILL)

    assert wait_until(lambda: machine_state.processes_of(NAME) == set(), DEADLINE_S)
    assert cluster.status() == []
    cluster.up(CONTROL_PLANE)
    assert "before-the-kill" not in kubectl(cluster, "get", "namespaces", "--output=name")
    cluster.down()
    assert the_machine().difference(before) == {}


def test_commands_on_a_cluster_that_is_not_there_say_how_to_start_it(cluster: Embedded) -> None:
    command = [sys.executable, "-m", "e2e.cluster", "load", "--provider", "embedded", "--name", NAME, "image"]
    failed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert f"python -m e2e.cluster up --name {NAME}" in failed.stderr
    assert "Traceback" not in failed.stderr
