"""What is left out of a reading of the machine: all that carries another cluster's own names, and nothing else."""

from pathlib import Path

from e2e.cluster.embedded.layout import Layout
from tests.e2e_cluster.machine_state import MachineState, Others

OURS, OTHER, NAMED_ALIKE = Layout("speed-2", 7), Layout("else", 9), Layout("speed", 11)


def the_traces_of(layout: Layout) -> MachineState:
    node = layout.node(1)
    nothing = frozenset[str]()
    return MachineState(
        links=frozenset({layout.bridge, node.host_link}),
        routes=frozenset(
            {f"{node.pods} via {node.address} dev {layout.bridge}", f"local {layout.host} dev {layout.bridge}"}
        ),
        network_namespaces=nothing,
        mounts=nothing,
        cgroups=frozenset({f"/sys/fs/cgroup/cpu/{layout.cgroup}", f"/sys/fs/cgroup/cpu/{node.cgroup}/kubepods"}),
        folders=frozenset({str(layout.state), f"/sys/fs/cgroup/{layout.cgroup}"}),
        sysctls=nothing,
        firewall="",
    )


def together(*states: MachineState) -> MachineState:
    def both(aspect: str) -> frozenset[str]:
        return frozenset(line for state in states for line in getattr(state, aspect))

    aspects = ("links", "routes", "network_namespaces", "mounts", "cgroups", "folders", "sysctls")
    return MachineState(**{aspect: both(aspect) for aspect in aspects}, firewall="")


def test_another_clusters_traces_are_left_out_and_ours_are_not() -> None:
    seen = together(*map(the_traces_of, (OURS, OTHER, NAMED_ALIKE)))
    assert seen.without(Others.of([OTHER, NAMED_ALIKE])) == the_traces_of(OURS)


def test_what_carries_nobodys_name_is_never_left_out() -> None:
    stray = MachineState(
        links=frozenset({"veth0"}),
        routes=frozenset({"198.19.9.0/25 via 198.18.9.11 dev veth0"}),
        network_namespaces=frozenset({"node-1"}),
        mounts=frozenset({"/run/ambit/node-1"}),
        cgroups=frozenset({"/sys/fs/cgroup/cpu/ambit-elsewhere"}),
        folders=frozenset({"/etc/cni", str(Path("/var/lib/ambit"))}),
        sysctls=frozenset({"vm.overcommit_memory = 1"}),
        firewall="table ip nat",
    )
    assert stray.without(Others.of([OTHER])) == stray
