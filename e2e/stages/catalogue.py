"""The stages of `make test`."""

import sys
from pathlib import Path

from e2e.stages.plan import ClusterNeed, Stage
from e2e.stages.report import ROOT, junit

PYTHON = sys.executable
TOOLS = Path(PYTHON).parent
NODE = ClusterNeed("ambit-test", nodes=1)
CONTROL_PLANE = ClusterNeed("ambit-test-api", nodes=0)
OWN_CLUSTERS = ("ambit-self-a", "ambit-self-b")
"""Those that tests start themselves (tests/e2e_cluster/own_cluster.py)."""

# The lanes: what computes; what needs an apiserver alone, or whole clusters of its own; what needs a node; and what
# takes all cores for as long as nobody else wants them.
CODE, API, PODS, REST = "code", "api", "pods", "rest"

TESTS_ON_A_NODE_AT_ONCE = 4
"""They mostly wait: for Pods to start, for a status to be written."""


def pytest(name: str, marks: str, *arguments: str) -> list[str]:
    """The command of a stage that runs the tests of these marks; the run closes with how many of them passed."""
    return [PYTHON, "-m", "pytest", "-m", marks, f"--junit-xml={junit(name)}", *arguments]


def files_with(mark: str) -> list[str]:
    """The test files that use it. Collecting all the others takes twelve seconds of each of pytest's processes."""
    files = (ROOT / "tests").rglob("test_*.py")
    return sorted(str(path.relative_to(ROOT)) for path in files if f"pytest.mark.{mark}" in path.read_text())


STAGES = (
    Stage("format", [str(TOOLS / "ruff"), "format", "--check", "."], 60, CODE),
    Stage("lint", [str(TOOLS / "ruff"), "check", "."], 60, CODE),
    Stage("types", [str(TOOLS / "pyright")], 300, CODE),
    Stage("contracts", [str(TOOLS / "lint-imports")], 60, CODE),
    Stage("generated", [PYTHON, "-m", "ambit.api.generate", "--check"], 60, CODE),
    # The chart's tests call helm, which is built with all the rest where it is not there.
    Stage(
        "unit",
        pytest("unit", "not integration and not cluster and not planted"),
        2400,
        CODE,
        after=["build", "packages"],
    ),
    # What it found is in build/fuzz.
    Stage("fuzz", [PYTHON, "-m", "tests.fuzz", "--seconds", "120"], 600, CODE),
    Stage(
        "simulation",
        [PYTHON, "-m", "tests.ledger_simulation", "--seeds", "10000", "--limit-s", "2340"],
        *(2400, REST),
        yields=True,
    ),
    Stage(
        "planted",
        pytest("planted", "planted", "--numprocesses", "2", "--dist=worksteal", *files_with("planted")),
        *(2400, REST),
        after=["simulation"],
        yields=True,
    ),
    Stage("packages", [PYTHON, "-m", "e2e.postgres"], 300, PODS),
    Stage("build", [PYTHON, "-m", "e2e.cluster", "build"], 1500, PODS),
    Stage("images", [PYTHON, "-m", "e2e.images", "build"], 600, PODS),
    Stage(
        "quickstart", [PYTHON, "-m", "e2e.demo", "--name", NODE.name, "up"], 1800, PODS, after=["images"], cluster=NODE
    ),
    Stage(
        "cluster",
        pytest(
            *("cluster", "cluster and not machine and not disruptive"),
            *("--numprocesses", str(TESTS_ON_A_NODE_AT_ONCE), "--dist=worksteal"),
            *files_with("cluster"),
        ),
        *(1800, PODS),
        after=["quickstart"],
        cluster=NODE,
    ),
    Stage(
        "faults", pytest("faults", "disruptive", *files_with("disruptive")), 1800, PODS, after=["cluster"], cluster=NODE
    ),
    Stage(
        "integration",
        pytest("integration", "integration and not machine", *files_with("integration")),
        *(1800, API),
        after=["images", "packages"],
        cluster=CONTROL_PLANE,
    ),
    Stage(
        "machine",
        pytest("machine", "machine", *files_with("machine")),
        1800,
        API,
        after=["images"],
        starts=OWN_CLUSTERS,
    ),
)
