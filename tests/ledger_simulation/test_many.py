"""Many seeds: on several cores the same as on one, the first that fails is named, and too few are no success."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.ledger_simulation import many
from tests.ledger_simulation.__main__ import main
from tests.ledger_simulation.many import Came, Failed, OutOfTime, run_many
from tests.ledger_simulation.run import Report, Violation

ROOT = Path(__file__).parent.parent.parent


class FromThirtyFiveOnWrong:
    """Stands in for the simulation of a seed."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def run(self) -> Report:
        if self._seed >= 35:
            raise Violation(self._seed, "wrong")
        return Report(self._seed, 1, 1, 1)


def test_two_processes_come_to_what_one_does() -> None:
    alone, together = run_many(0, 4, 1, 600.0), run_many(0, 4, 2, 600.0)
    assert isinstance(alone, Came)
    assert isinstance(together, Came)
    assert alone.seeds == together.seeds == 4
    assert alone.operations == together.operations
    assert alone.operations >= 400


def test_the_failure_with_the_lowest_number_is_the_one_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "Simulation", FromThirtyFiveOnWrong)
    assert run_many(0, 100, 3, 600.0) == Failed(35, "seed 35: wrong\n")
    came = run_many(0, 35, 3, 600.0)
    assert isinstance(came, Came)
    assert (came.seeds, came.operations, came.incarnations) == (35, 35, 35)


def test_fewer_seeds_than_wanted_are_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(OutOfTime):
        run_many(0, 1_000_000, 2, 0.0)
    assert main(["--seeds", "1000000", "--limit-s", "0"]) == 1
    assert capsys.readouterr().err.startswith("out of time: 0 of 1000000 seeds")


def hear_ctrl_c() -> None:
    """Whoever runs the tests in the background of a shell has all that they start ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_ends_it_with_all_its_processes() -> None:
    command = [sys.executable, "-m", "tests.ledger_simulation", "--seeds", "1000000", "--jobs", "2"]
    with subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=hear_ctrl_c
    ) as running:
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
        try:
            while len(children.read_text().split()) < 2:
                time.sleep(0.01)
            pids = [int(pid) for pid in children.read_text().split()]
            running.send_signal(signal.SIGINT)
            assert running.wait(timeout=120) == 130
        finally:
            with suppress(ProcessLookupError):  # nothing of it is left, as it should be
                os.killpg(running.pid, signal.SIGKILL)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
