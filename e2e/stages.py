"""The stages of `make test`: each a command with a time limit, run in order, named with its time.

The first failure ends the run.

`python -m e2e.stages` runs all of them, `python -m e2e.stages NAME…` only those. Stages that need a cluster get a fresh
one of the kind they need, shared by the stages that follow with the same need, and taken down whatever happens.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable
TOOLS = Path(PYTHON).parent
CLUSTER_NAME = "ambit-test"
KILL_GRACE_S = 20


class Needs(Enum):
    """What has to stand before a stage can run; the value is the cluster's number of nodes."""

    NOTHING = None
    CONTROL_PLANE = 0
    NODE = 1


@dataclass(frozen=True)
class Stage:
    """One step: `command` must exit with 0 within `limit_s` seconds."""

    name: str
    command: Sequence[str]
    limit_s: int
    needs: Needs = Needs.NOTHING


class StageFailed(Exception):
    """A stage exited with another code than 0, or ran out of time."""


def pytest(name: str, marks: str) -> Stage:
    """A stage that runs the tests of these marks; `main` closes with how many passed."""
    limits_s = {"unit": 900, "integration": 900, "cluster": 1500}
    needs = {"integration": Needs.CONTROL_PLANE, "cluster": Needs.NODE}.get(name, Needs.NOTHING)
    return Stage(name, [PYTHON, "-m", "pytest", "-m", marks, f"--junit-xml={report(name)}"], limits_s[name], needs)


def report(name: str) -> Path:
    return ROOT / "build" / "reports" / f"{name}.xml"


def summary(name: str) -> str | None:
    """`name: N passed, N failed, N skipped`, from pytest's own report; None where the stage wrote none."""
    if not report(name).exists():
        return None
    (suite,) = ElementTree.parse(report(name)).getroot().iter("testsuite")
    counted = {what: int(suite.attrib[what]) for what in ("tests", "failures", "errors", "skipped")}
    failed = counted["failures"] + counted["errors"]
    passed = counted["tests"] - failed - counted["skipped"]
    return f"{name}: {passed} passed, {failed} failed, {counted['skipped']} skipped"


def cluster(verb: str, *arguments: str) -> Sequence[str]:
    return [PYTHON, "-m", "e2e.cluster", verb, "--name", CLUSTER_NAME, *arguments]


STAGES = (
    Stage("format", [str(TOOLS / "ruff"), "format", "--check", "."], 60),
    Stage("lint", [str(TOOLS / "ruff"), "check", "."], 60),
    Stage("types", [str(TOOLS / "pyright")], 300),
    Stage("contracts", [str(TOOLS / "lint-imports")], 60),
    Stage("generated", [PYTHON, "-m", "ambit.api.generate", "--check"], 60),
    Stage("build", [PYTHON, "-m", "e2e.cluster", "build"], 1200),
    Stage("images", [PYTHON, "-m", "e2e.images", "build"], 600),
    pytest("unit", "not integration and not cluster"),
    pytest("integration", "integration"),
    Stage("quickstart", [PYTHON, "-m", "e2e.demo", "--name", CLUSTER_NAME, "up"], 900, Needs.NODE),
    pytest("cluster", "cluster"),
)
UP_LIMIT_S = 300
DOWN_LIMIT_S = 120


def run_command(name: str, command: Sequence[str], limit_s: int, environment: Mapping[str, str]) -> None:
    """Runs `command` in a process group of its own; raises StageFailed when it fails or is out of time."""
    started_s = time.monotonic()
    print(f"\n=== {name} (limit {limit_s} s)", flush=True)
    process = subprocess.Popen(command, cwd=ROOT, env=dict(environment), start_new_session=True)
    try:
        code = process.wait(timeout=limit_s)
    except subprocess.TimeoutExpired:
        raise StageFailed(f"stage {name} was out of time after {limit_s} s") from None
    finally:
        end_group(process)
    took_s = time.monotonic() - started_s
    if code != 0:
        raise StageFailed(f"stage {name} failed with exit code {code} after {took_s:.1f} s")
    print(f"=== {name}: passed in {took_s:.1f} s", flush=True)


def end_group(process: "subprocess.Popen[bytes]") -> None:
    """Ends a stage that is still running: politely, so that it takes down what it started, then for good."""
    for ending in (signal.SIGINT, signal.SIGKILL):
        if process.poll() is not None:
            return
        os.killpg(process.pid, ending)
        try:
            process.wait(timeout=KILL_GRACE_S)
        except subprocess.TimeoutExpired:
            continue


class Cluster:
    """The one cluster of a run: brought up for the first stage that needs it, and again where the need changes."""

    def __init__(self) -> None:
        self._stands = Needs.NOTHING

    def provide(self, needs: Needs) -> dict[str, str]:
        """Brings up what is needed; returns the environment that reaches it."""
        if needs is Needs.NOTHING:
            return {}
        if self._stands is not needs:
            self.down()
            self._stands = needs
            run_command(
                f"cluster with {needs.value} nodes", cluster("up", "--nodes", str(needs.value)), UP_LIMIT_S, os.environ
            )
        path = subprocess.check_output(cluster("kubeconfig"), cwd=ROOT, text=True, timeout=60).strip()
        return {"KUBECONFIG": path}

    def down(self) -> None:
        if self._stands is Needs.NOTHING:
            return
        self._stands = Needs.NOTHING
        run_command("cluster down", cluster("down"), DOWN_LIMIT_S, os.environ)


def main(names: Sequence[str]) -> int:
    unknown = set(names) - {stage.name for stage in STAGES}
    if unknown:
        print(f"no such stage: {', '.join(sorted(unknown))}; there are {', '.join(s.name for s in STAGES)}")
        return 2
    started_s = time.monotonic()
    shutil.rmtree(report("").parent, ignore_errors=True)
    the_cluster = Cluster()
    failure: StageFailed | None = None
    try:
        for stage in STAGES:
            if names and stage.name not in names:
                continue
            environment = {**os.environ, **the_cluster.provide(stage.needs)}
            run_command(stage.name, stage.command, stage.limit_s, environment)
    except StageFailed as error:
        failure = error
    finally:
        try:
            the_cluster.down()
        except StageFailed as error:
            failure = failure or error
    print(f"\n=== {failure or 'all stages passed'} ({time.monotonic() - started_s:.0f} s in all)", flush=True)
    for line in filter(None, (summary(stage.name) for stage in STAGES)):
        print(line, flush=True)
    return 1 if failure else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
