"""The images carry the runtime lock and no more: no process needs the extra `cli`, and who needs it is told so."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.without_extras import LOCK, missing_modules

ROOT = Path(__file__).parents[2]


def ambit(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.cli.without_extras", *arguments],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_kubernetes_client_is_not_in_the_images_lock() -> None:
    assert "kubernetes==" not in LOCK.read_text()
    assert {"kubernetes", "rich"} <= missing_modules()


def test_every_module_of_the_processes_can_be_imported() -> None:
    done = ambit("--import-all")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("process", ["operator", "gateway", "ledger", "isolate-host", "drain"])
def test_every_process_gets_as_far_as_its_settings(process: str) -> None:
    done = ambit(process)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [["run", "team-a/researcher", "a question"], ["sessions"], ["kill", "team-a/s-1"]])
def test_a_command_for_people_says_what_to_install(command: list[str]) -> None:
    done = ambit(*command)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines() == [
        "ambit: reading a kubeconfig needs the extra `cli`: install it with pip install 'ambit-operator[cli]'."
    ]
