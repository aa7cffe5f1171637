"""Clusters that these tests make for themselves, beside those that others run on the machine."""

from e2e.cluster.commands import run
from e2e.cluster.embedded import machine
from e2e.cluster.embedded.layout import Layout
from e2e.cluster.embedded.provider import Embedded
from e2e.cluster.embedded.session import Session
from e2e.cluster.provider import Wanted
from tests.e2e_cluster import machine_state
from tests.e2e_cluster.machine_state import MachineState

NAME, OTHER = "ambit-self-a", "ambit-self-b"
DEADLINE_S = 180
CONTROL_PLANE = Wanted(nodes=0, fake_nodes=0)


def running(name: str = NAME) -> tuple[Layout, Session]:
    layout = machine.place(name)
    return layout, Session(layout)


def kubectl(cluster: Embedded, *arguments: str, stdin: str | None = None) -> str:
    program = running()[0].binaries / "kubectl"
    return run([str(program), f"--kubeconfig={cluster.kubeconfig()}", *arguments], stdin=stdin)


def the_machine() -> MachineState:
    """The machine, but for what others run on it meanwhile."""
    return machine_state.read(ours=(NAME, OTHER))
