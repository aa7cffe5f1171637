"""What a cluster adds to the machine outside its own namespaces (bridge, routes, cgroups, folder), and its removal."""

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

from e2e.cluster.commands import run, wait_until
from e2e.cluster.embedded.layout import STATE_ROOT, Layout, Node, preferred_slots
from e2e.cluster.errors import ClusterError, Missing

CGROUPS = Path("/sys/fs/cgroup")
CGROUP_REMOVAL_TIMEOUT_S = 20


def place(name: str) -> Layout:
    """Where the cluster is, if its bridge is there, else where it can be: on a subnet that nothing else uses."""
    addresses = {
        information["local"]: link
        for link in _links()
        for information in link.get("addr_info", [])
        if information["family"] == "inet"
    }
    free: Layout | None = None
    for slot in preferred_slots(name):
        layout = Layout(name, slot)
        link = addresses.get(str(layout.host))
        if link is not None and link.get("ifalias") == layout.bridge_alias:
            return layout
        if link is None and free is None:
            free = layout
    if free is None:
        raise ClusterError("every subnet of 198.18.0.0/16 is taken by a link of this machine")
    return free


def add_bridge(layout: Layout) -> None:
    if _owned(layout):
        return
    bridge = layout.bridge
    if any(link["ifname"] == bridge for link in _links()):
        raise ClusterError(f"the link {bridge} is there and not this cluster's: use another --name, or remove it")
    run(["ip", "link", "add", bridge, "type", "bridge"])
    run(["ip", "link", "set", bridge, "alias", layout.bridge_alias])
    run(["ip", "addr", "add", f"{layout.host}/{layout.subnet.prefixlen}", "dev", bridge])
    run(["ip", "link", "set", bridge, "up"])


def add_pod_route(layout: Layout, node: Node) -> None:
    """The apiserver calls webhooks and proxies at pods' addresses."""
    run(["ip", "route", "replace", str(node.pods), "via", str(node.address), "dev", layout.bridge])


def add_cgroup(node: Node) -> None:
    """A cgroup of the node's own in every hierarchy: pods' cgroups go below it, not to the machine's root."""
    for hierarchy in _hierarchies():
        folder = hierarchy
        for part in node.cgroup.split("/"):
            _delegate(folder)
            folder = folder / part
            if not folder.exists():
                folder.mkdir()
                _inherit_cpuset(folder)
        _delegate(folder)


def clean(layout: Layout) -> None:
    """Removes all that is left of a cluster whose processes have ended. Repeatable."""
    _remove_cgroups(layout)
    if _owned(layout):
        run(["ip", "link", "delete", layout.bridge])
    if layout.state.exists():
        shutil.rmtree(layout.state)
    if STATE_ROOT.exists() and not any(STATE_ROOT.iterdir()):
        STATE_ROOT.rmdir()


def remains(layout: Layout) -> bool:
    """Whether anything of the cluster, running or not, is on the machine."""
    return _owned(layout) or layout.state.exists() or any(_cgroup_roots(layout))


def _links() -> list[dict[str, Any]]:
    links: list[dict[str, Any]] = json.loads(run(["ip", "-json", "-details", "addr", "show"]))
    return links


def _owned(layout: Layout) -> bool:
    return any(link["ifname"] == layout.bridge and link.get("ifalias") == layout.bridge_alias for link in _links())


def _hierarchies() -> list[Path]:
    if _unified():
        return [CGROUPS]
    return [folder for folder in CGROUPS.iterdir() if (folder / "cgroup.procs").exists() and not folder.is_symlink()]


def _unified() -> bool:
    return (CGROUPS / "cgroup.controllers").exists()


def _delegate(folder: Path) -> None:
    """cgroup v2 gives a folder's children only the controllers that are switched on for them."""
    if _unified():
        available = (folder / "cgroup.controllers").read_text().split()
        try:
            (folder / "cgroup.subtree_control").write_text(" ".join(f"+{controller}" for controller in available))
        except OSError as error:
            raise Missing(
                f"the controllers of cgroup {folder} cannot be handed on ({error.strerror})",
                "run this outside containers, or in one with the machine's cgroup namespace",
            ) from error


def _inherit_cpuset(folder: Path) -> None:
    """cgroup v1 makes cpusets empty, and nothing can run in an empty one."""
    for file in ("cpuset.cpus", "cpuset.mems"):
        if not _unified() and (folder / file).exists():
            (folder / file).write_text((folder.parent / file).read_text())


def _cgroup_roots(layout: Layout) -> list[Path]:
    return [folder / layout.cgroup for folder in _hierarchies() if (folder / layout.cgroup).exists()]


def _remove_cgroups(layout: Layout) -> None:
    # A killed process leaves its cgroup a moment after it has died.
    def removed() -> bool:
        for root in _cgroup_roots(layout):
            folders = sorted((path for path in root.rglob("*") if path.is_dir()), key=lambda path: -len(path.parts))
            for folder in (*folders, root):
                with contextlib.suppress(OSError):
                    folder.rmdir()
        return not _cgroup_roots(layout)

    if not wait_until(removed, CGROUP_REMOVAL_TIMEOUT_S):
        raise ClusterError(f"processes are left in the cgroups {', '.join(map(str, _cgroup_roots(layout)))}")
