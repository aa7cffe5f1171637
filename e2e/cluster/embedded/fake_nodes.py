"""Nodes that exist in the API only, kept alive by kwok: for tests of scale, not of running anything."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from e2e.cluster.commands import run, succeeds
from e2e.cluster.embedded import pki
from e2e.cluster.embedded.control_plane import kubectl
from e2e.cluster.embedded.layout import Layout
from e2e.cluster.embedded.session import Session
from e2e.cluster.upstream.catalogue import KWOK_STAGES

_MARK = "kwok.x-k8s.io/node"
_PROCESS = "kwok"


def ensure(layout: Layout, session: Session, count: int, binaries: Mapping[str, Path]) -> None:
    """Makes fake-0 … fake-(count-1). Tainted, so that only Pods which tolerate them land there."""
    session.start(
        _PROCESS,
        [
            *("kwok", f"--kubeconfig={pki.kubeconfig(layout, pki.KWOK)}", f"--config={binaries[KWOK_STAGES.name]}"),
            *(f"--manage-nodes-with-annotation-selector={_MARK}=fake", "--node-lease-duration-seconds=120"),
            *(f"--node-ip={layout.host}", "--enable-crds=", "--server-address="),
        ],
    )
    nodes = {"apiVersion": "v1", "kind": "List", "items": [_node(number) for number in range(count)]}
    apply = ("apply", "--server-side", "--field-manager=ambit-cluster", "-f", "-")
    run([*kubectl(layout), *apply], stdin=json.dumps(nodes))
    ready = ("wait", "node", f"--selector={_MARK}=fake", "--for=condition=Ready", "--timeout=1s")
    session.wait([_PROCESS], lambda: succeeds([*kubectl(layout), *ready]))


def _node(number: int) -> dict[str, Any]:
    name = f"fake-{number}"
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {_MARK: "fake"},
            "labels": {_MARK: "fake", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux"},
        },
        "spec": {"taints": [{"key": _MARK, "value": "fake", "effect": "NoSchedule"}]},
    }
