"""Helm, and the chart as it renders with given values."""

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.cluster.progress import Progress
from e2e.cluster.upstream import build, catalogue

CHART = Path(__file__).resolve().parents[2] / "charts" / "ambit"
Manifest = dict[str, Any]


@pytest.fixture(scope="session")
def helm() -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Runs Helm; the result is returned whatever its exit code."""
    path = build.ensure([catalogue.HELM], Progress())["helm"]

    def run(*arguments: str, values: Mapping[str, Any] | None = None) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(path), *arguments, *(["--values", "-"] if values is not None else [])],
            input=yaml.safe_dump(values) if values is not None else None,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def render(helm: Callable[..., "subprocess.CompletedProcess[str]"]) -> Callable[..., list[Manifest]]:
    """The chart's manifests with these values."""

    def run(**values: Any) -> list[Manifest]:
        done = helm("template", "ambit", str(CHART), "--namespace", "ambit-system", values=values)
        assert done.returncode == 0, done.stderr
        # The CRDs are long, and the C loader reads them ten times as fast.
        return [manifest for manifest in yaml.load_all(done.stdout, yaml.CSafeLoader) if manifest]

    return run
