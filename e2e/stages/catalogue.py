"""The stages of `make test`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from e2e.stages.plan import ClusterNeed, Stage
from e2e.stages.report import junit

PYTHON = sys.executable
TOOLS = Path(PYTHON).parent
NODE = ClusterNeed("ambit-test", nodes=1)
CONTROL_PLANE = ClusterNeed("ambit-test-api", nodes=0)

# Lanes: what computes, what waits for an apiserver, what waits for a node.
CODE, API, PODS = "code", "api", "pods"


def pytest(
    name: str, limit_s: int, marks: str, lane: str, after: Sequence[str], cluster: ClusterNeed | None = None
) -> Stage:
    """A stage that runs the tests of these marks; the run closes with how many of them passed."""
    command = [PYTHON, "-m", "pytest", "-m", marks, f"--junit-xml={junit(name)}"]
    return Stage(name, command, limit_s, lane, after, cluster)


STAGES = (
    Stage("format", [str(TOOLS / "ruff"), "format", "--check", "."], 60, CODE),
    Stage("lint", [str(TOOLS / "ruff"), "check", "."], 60, CODE),
    Stage("types", [str(TOOLS / "pyright")], 300, CODE),
    Stage("contracts", [str(TOOLS / "lint-imports")], 60, CODE),
    Stage("generated", [PYTHON, "-m", "ambit.api.generate", "--check"], 60, CODE),
    pytest("unit", 900, "not integration and not cluster", CODE, after=["build"]),  # the chart's tests call helm
    Stage("build", [PYTHON, "-m", "e2e.cluster", "build"], 1200, PODS),
    Stage("images", [PYTHON, "-m", "e2e.images", "build"], 600, PODS),
    Stage("quickstart", [PYTHON, "-m", "e2e.demo", "--name", NODE.name, "up"], 900, PODS, ["images"], NODE),
    pytest("cluster", 1500, "cluster", PODS, ["quickstart"], NODE),
    pytest("integration", 900, "integration", API, ["images"], CONTROL_PLANE),
)
