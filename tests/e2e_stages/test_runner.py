"""A run for real: side by side, ended by its first failure or by its time, with all that was written kept."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from e2e.cluster.commands import wait_until
from e2e.stages.plan import Stage
from e2e.stages.process import StageFailed
from e2e.stages.runner import Run

# Waits for a file until somebody writes it; nobody does where the run is to be ended.
WAITS = 'while [ ! -e "$0" ]; do sleep 0.02; done'


def a_stage(
    name: str, script: str, *arguments: object, lane: str = "a", limit_s: int = 60, after: tuple[str, ...] = ()
) -> Stage:
    return Stage(name, ["sh", "-c", script, *map(str, arguments)], limit_s, lane, after)


def runs(process: str) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"  # killed, and not yet taken notice of


async def test_lanes_run_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each of the two waits for what the other does first."""
    there, here = tmp_path / "there", tmp_path / "here"
    one = a_stage("one", f'{WAITS}; echo done >"$1"; echo first', there, here)
    two = a_stage("two", f'echo go >"$1"; {WAITS}; echo second', here, there, lane="b")
    run = Run([one, two], tmp_path / "reports")
    await run.to_end()
    assert run.took_s.keys() == {"one", "two"}
    said = capsys.readouterr().out
    assert said.index("=== one\nfirst\n=== one: passed") > 0
    assert said.index("=== two\nsecond\n=== two: passed") > 0


async def test_stages_of_one_lane_run_one_after_another(tmp_path: Path) -> None:
    both = tmp_path / "both"
    stages = [a_stage(name, f'echo {name} >>"$0"; sleep 0.05; echo {name} >>"$0"', both) for name in ("one", "two")]
    await Run(stages, tmp_path / "reports").to_end()
    assert both.read_text().split() == ["one", "one", "two", "two"]


async def test_one_that_yields_has_only_the_time_that_others_leave(tmp_path: Path) -> None:
    said = tmp_path / "said"
    # The second: how the kernel ranks the whole session among the others, where it ranks sessions.
    script = 'nice >"$0"; if [ -e /proc/self/autogroup ]; then cat /proc/self/autogroup; else echo nice 19; fi >>"$0"'
    await Run([Stage("yields", ["sh", "-c", script, str(said)], 60, "a", yields=True)], tmp_path / "reports").to_end()
    niceness, of_the_session = said.read_text().splitlines()
    assert niceness == "19"
    assert of_the_session.endswith("nice 19")


async def test_the_first_failure_ends_the_others_politely_and_starts_no_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    never, begun, cleaned, late = (tmp_path / name for name in ("never", "begun", "cleaned", "late"))
    waits = a_stage("waits", f'trap \'echo x >"$2"; exit\' INT; echo x >"$1"; {WAITS}', never, begun, cleaned)
    breaks = a_stage("breaks", f"{WAITS}; echo this is why; exit 3", begun, lane="b")
    run = Run([waits, breaks, a_stage("later", 'echo x >"$0"', late, lane="b")], tmp_path / "reports")
    with pytest.raises(StageFailed, match=r"^stage breaks failed with exit code 3$"):
        await run.to_end()
    assert (cleaned.exists(), late.exists(), dict(run.took_s), run.ended) == (True, False, {}, ["breaks"])
    said = capsys.readouterr().out
    assert "=== breaks\nthis is why\n" in said
    assert "=== waits: ended early" in said


async def test_a_stage_that_is_out_of_time_is_named_and_its_output_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = a_stage("slow", f"echo so far; {WAITS}", tmp_path / "never", limit_s=1)
    with pytest.raises(StageFailed, match=r"^stage slow was out of time after 1\.0 s$"):
        await Run([slow], tmp_path / "reports").to_end()
    assert (tmp_path / "reports" / "slow.log").read_text() == "so far\n"
    assert "=== slow\nso far\n" in capsys.readouterr().out


async def test_what_does_not_end_politely_is_killed_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("e2e.stages.process.KILL_GRACE_S", 0.2)
    child = tmp_path / "child"
    stubborn = a_stage("stubborn", 'trap "" INT; sh -c \'echo $$ >"$0"; exec sleep 600\' "$0"; true', child, limit_s=1)
    with pytest.raises(StageFailed, match="out of time"):
        await Run([stubborn], tmp_path / "reports").to_end()
    assert wait_until(lambda: not runs(child.read_text().strip()), 10)


def test_sigterm_ends_the_run_as_a_failure_does(tmp_path: Path) -> None:
    script = """
import asyncio, sys
from pathlib import Path
from e2e.stages import __main__ as stages
from tests.e2e_stages.test_runner import WAITS, a_stage
stages.STAGES = (a_stage("waits", 'trap \\'echo x >"$2"; exit\\' INT; echo x >"$1"; ' + WAITS, *sys.argv[1:]),)
stages.REPORTS = Path(sys.argv[1]).parent / "reports"
sys.exit(stages.main([]))
"""
    never, begun, cleaned = (tmp_path / name for name in ("never", "begun", "cleaned"))
    command = [sys.executable, "-c", script, str(never), str(begun), str(cleaned)]
    # As a shell starts it in the background: with SIGINT ignored.
    in_background = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *command]
    process = subprocess.Popen(in_background, stdout=subprocess.PIPE, text=True)
    while not begun.exists():
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert cleaned.exists()
    assert "=== ended from outside" in said
