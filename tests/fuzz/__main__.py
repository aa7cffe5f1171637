"""Runs the fuzzers: `python -m tests.fuzz [TARGET…] --seconds 120 [--keep]`.

Each target has a process of its own (libFuzzer ends its process) and an equal share of the time. What was found is
written to `build/fuzz/`, and the first that was ends the run with status 1. `--keep` stores the smallest inputs
that reach what was reached in `tests/fuzz/corpus`.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.targets import MAX_INPUT, TARGETS

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
FOUND = HERE.parents[1] / "build" / "fuzz"


def main() -> int:
    """Runs what the command line asks for; the exit status."""
    options = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz the gateway's readers.")
    options.add_argument("targets", nargs="*", choices=[[], *TARGETS], help="all of them, if none is named")
    options.add_argument("--seconds", type=int, default=120, help="for all targets together")
    options.add_argument("--seed", type=int, default=1, help="the same for everybody, unless told; 0: a random one")
    options.add_argument("--keep", action="store_true", help="store the inputs that reach new code")
    asked = options.parse_args()
    names: list[str] = asked.targets or list(TARGETS)
    FOUND.mkdir(parents=True, exist_ok=True)
    for name in names:
        status = _run(name, max(1, asked.seconds // len(names)), seed=asked.seed, keep=asked.keep)
        if status != 0:
            print(f"{name}: found something; replay: python -m tests.fuzz.one {name} FILE, from {FOUND}")
            return 1
    return 0


def _run(name: str, seconds: int, *, seed: int, keep: bool) -> int:
    stored = CORPUS / name
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "found"
        found.mkdir()
        limits = [
            f"-seed={seed}",
            f"-max_total_time={seconds}",
            f"-max_len={MAX_INPUT}",
            "-timeout=20",
            "-rss_limit_mb=2048",
        ]
        quiet = ["-print_final_stats=1", "-verbosity=0"]
        artifacts = f"-artifact_prefix={FOUND}/{name}-"
        print(f"=== {name}: {seconds} s, {len(list(stored.iterdir()))} stored inputs", flush=True)
        status = _fuzzer(name, [*limits, *quiet, artifacts, str(found), str(stored)])
        if status == 0 and keep:
            merged = Path(folder) / "merged"
            merged.mkdir()
            status = _fuzzer(name, ["-merge=1", *quiet, str(merged), str(stored), str(found)])
            _store(sorted(merged.iterdir(), key=lambda one: one.stat().st_size), stored)
    return status


def _store(inputs: list[Path], folder: Path) -> None:
    """Adds inputs to those stored, up to so many: what stays readable in a repository."""
    room = 60 - len(list(folder.iterdir()))
    for one in inputs[: max(0, room)]:
        shutil.copy(one, folder / one.name[:12])


def _fuzzer(name: str, arguments: list[str]) -> int:
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    return subprocess.run(
        [sys.executable, "-m", "tests.fuzz.one", name, *arguments], env=environment, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
