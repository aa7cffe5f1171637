"""What a cluster could leave on the machine, read from the machine itself."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

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


def read(ignoring: frozenset[str] = frozenset()) -> MachineState:
    """The machine now. `ignoring`: names of clusters that others run meanwhile; lines with them are left out."""

    def kept(lines: list[str]) -> frozenset[str]:
        return frozenset(line for line in lines if not any(name in line for name in ignoring))

    return MachineState(
        links=kept([line.split("@")[0].split()[0] for line in _output("ip", "-brief", "link").splitlines()]),
        routes=kept([" ".join(line.split()) for line in _output("ip", "route", "show", "table", "all").splitlines()]),
        network_namespaces=kept(_output("ip", "netns", "list").splitlines()),
        mounts=kept([line.split(" ", 2)[2] for line in Path("/proc/self/mountinfo").read_text().splitlines()]),
        cgroups=kept([folder for folder, _, _ in os.walk("/sys/fs/cgroup") if "ambit-" in folder]),
        folders=kept(_traces()),
        sysctls=frozenset(_sysctls()),
        firewall=_output("nft", "list", "ruleset"),
    )


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
    lines = _output("ss", "-H", "-l", "-n", "-p", "-t", "-u").splitlines()
    processes = processes_of(name)
    return {line.split()[4] for line in lines if any(f"pid={process}," in line for process in processes)}


def _traces() -> list[str]:
    return [
        os.path.join(folder, name)
        for folder in _FOLDERS
        if os.path.isdir(folder)
        for name in os.listdir(folder)
        if any(trace in name for trace in _TRACES)
    ]


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


def _output(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout
