"""What a cluster could leave on the machine, read from the machine itself."""

import itertools
import json
import os
import subprocess
from collections.abc import Collection, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from e2e.cluster.embedded import machine
from e2e.cluster.embedded.layout import BRIDGE_ALIAS, STATE_ROOT, Layout
from e2e.cluster.embedded.provider import lock
from e2e.cluster.provider import MAXIMUM_NODES

# Kernel settings that node software is known to change; the rest of /proc/sys changes by itself.
_SYSCTLS = ("vm", "kernel/panic", "kernel/panic_on_oops", "kernel/keys", "net/ipv4/ip_forward", "net/ipv4/conf/all")
_FOLDERS = ("/etc", "/opt", "/run", "/var/lib", "/var/log", "/sys/fs/cgroup", "/sys/fs/bpf")
_TRACES = ("ambit", "calico", "cni", "containerd", "kube", "runc", "runsc")


@dataclass(frozen=True)
class MachineState:
    """Lines of what the machine's own tools and files say, by aspect."""

    links: frozenset[str]
    routes: frozenset[str]
    network_namespaces: frozenset[str]
    mounts: frozenset[str]
    cgroups: frozenset[str]
    folders: frozenset[str]
    sysctls: frozenset[str]
    firewall: str

    def difference(self, before: "MachineState") -> dict[str, list[str]]:
        """What is here and was not before, by aspect. Empty where all is as it was."""
        found = {
            aspect: sorted(getattr(self, aspect) - getattr(before, aspect))
            for aspect in ("links", "routes", "network_namespaces", "mounts", "cgroups", "folders", "sysctls")
        }
        if self.firewall != before.firewall:
            found["firewall"] = [self.firewall]
        return {aspect: lines for aspect, lines in found.items() if lines}

    def without(self, others: "Others") -> "MachineState":
        """What is left once all that carries another cluster's own names is taken away."""
        return replace(
            self,
            links=self.links - others.links,
            routes=frozenset(route for route in self.routes if others.links.isdisjoint(_devices(route))),
            cgroups=frozenset(path for path in self.cgroups if not others.owns(Path(path))),
            folders=frozenset(path for path in self.folders if not others.owns(Path(path))),
        )


@dataclass(frozen=True)
class Others:
    """The names that clusters of other people have on the machine, each whole: one may begin like one of ours."""

    links: frozenset[str]
    cgroups: frozenset[str]
    folders: frozenset[Path]

    def owns(self, folder: Path) -> bool:
        return folder in self.folders or not self.cgroups.isdisjoint(folder.parts)

    @classmethod
    def of(cls, layouts: Collection[Layout]) -> Self:
        nodes = [(layout, number) for layout in layouts for number in range(1, MAXIMUM_NODES + 1)]
        return cls(
            links=frozenset(layout.bridge for layout in layouts)
            | frozenset(layout.node(number).host_link for layout, number in nodes),
            cgroups=frozenset(layout.cgroup for layout in layouts),
            folders=frozenset(layout.state for layout in layouts),
        )


def read(ours: Collection[str]) -> MachineState:
    """The machine now, but for what belongs to clusters of other names than `ours`.

    Others come up and go down at any time. None can while we hold the lock of places begin with a link that carries no
    name yet; one that goes down while we read is known from before, one that comes up is known from afterwards.
    """
    with lock("places"):
        known = _layouts(ours)
        state = _everything()
        return state.without(Others.of(known | _layouts(ours)))


def _layouts(ours: Collection[str]) -> set[Layout]:
    """Of all clusters that have a bridge or a folder here, but ours."""
    links: list[dict[str, Any]] = json.loads(_output("ip", "-json", "-details", "link"))
    aliases = {str(link.get("ifalias", "")) for link in links}
    named = {alias.removeprefix(BRIDGE_ALIAS) for alias in aliases if alias.startswith(BRIDGE_ALIAS)}
    folders = {folder.name for folder in STATE_ROOT.iterdir()} if STATE_ROOT.exists() else set[str]()
    return {machine.place(name) for name in (named | folders) - set(ours)}


def _everything() -> MachineState:
    return MachineState(
        links=frozenset(line.split("@")[0].split()[0] for line in _lines("ip", "-brief", "link")),
        routes=frozenset(" ".join(line.split()) for line in _lines("ip", "route", "show", "table", "all")),
        network_namespaces=frozenset(_lines("ip", "netns", "list")),
        mounts=frozenset(line.split(" ", 2)[2] for line in Path("/proc/self/mountinfo").read_text().splitlines()),
        cgroups=frozenset(folder for folder, _, _ in os.walk("/sys/fs/cgroup") if "ambit-" in folder),
        folders=frozenset(_traces()),
        sysctls=frozenset(_sysctls()),
        firewall=_output("nft", "list", "ruleset"),
    )


def _devices(route: str) -> Set[str]:
    """The links that a route names."""
    words = route.split()
    return {name for word, name in itertools.pairwise(words) if word == "dev"}


def processes_of(name: str) -> set[int]:
    """Those of the cluster and of its pods: by their cgroup, or by what they were started with."""
    found: set[int] = set()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            command, cgroup = (folder / "cmdline").read_bytes(), (folder / "cgroup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if f"/var/lib/ambit/{name}".encode() in command or f"/ambit-{name}/" in cgroup:
            found.add(int(folder.name))
    return found


def listeners(name: str) -> set[str]:
    """Addresses with ports where the cluster's processes listen in the machine's own network, TCP and UDP."""
    lines = _lines("ss", "-H", "-l", "-n", "-p", "-t", "-u")
    processes = processes_of(name)
    return {line.split()[4] for line in lines if any(f"pid={process}," in line for process in processes)}


def _traces() -> list[str]:
    found = [
        os.path.join(folder, name)
        for folder in _FOLDERS
        if os.path.isdir(folder)
        for name in os.listdir(folder)
        if any(trace in name for trace in _TRACES)
    ]
    # The folder of all clusters is as many traces as there are clusters in it; an empty one is left over.
    clusters = [str(folder) for folder in STATE_ROOT.iterdir()] if STATE_ROOT.exists() else []
    return [path for path in found if path != str(STATE_ROOT) or not clusters] + clusters


def _sysctls() -> list[str]:
    found: list[str] = []
    for name in _SYSCTLS:
        path = Path("/proc/sys") / name
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            if file.is_file() and os.access(file, os.R_OK) and file.stat().st_mode & 0o444:
                try:
                    found.append(f"{file} = {file.read_text().strip()}")
                except OSError:
                    continue  # some can only be written
    return found


def _lines(*argv: str) -> list[str]:
    return _output(*argv).splitlines()


def _output(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout
