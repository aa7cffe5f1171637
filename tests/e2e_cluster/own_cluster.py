"""Clusters that these tests make for themselves, beside those that others run on the machine."""

from e2e.cluster.commands import run
from e2e.cluster.embedded import machine
from e2e.cluster.embedded.layout import STATE_ROOT, Layout
from e2e.cluster.embedded.provider import Embedded
from e2e.cluster.embedded.session import Session

NAME, OTHER = "ambit-self-a", "ambit-self-b"
DEADLINE_S = 60


def running(name: str = NAME) -> tuple[Layout, Session]:
    layout = machine.place(name)
    return layout, Session(layout)


def kubectl(cluster: Embedded, *arguments: str, stdin: str | None = None) -> str:
    program = running()[0].binaries / "kubectl"
    return run([str(program), f"--kubeconfig={cluster.kubeconfig()}", *arguments], stdin=stdin)


def traces_of_others() -> frozenset[str]:
    """What marks the links, routes and folders of clusters that somebody else runs meanwhile."""
    names = {path.name for path in STATE_ROOT.iterdir()} - {NAME, OTHER} if STATE_ROOT.exists() else set[str]()
    return frozenset(trace for name in names for trace in _traces(machine.place(name)))


def _traces(layout: Layout) -> tuple[str, ...]:
    subnets = tuple(str(subnet.network_address)[:-1] for subnet in (layout.subnet, layout.pods))
    return (layout.cgroup, layout.bridge, layout.node(1).host_link[:-1], *subnets)
