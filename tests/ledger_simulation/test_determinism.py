"""The same seed is the same run, to the last line of its trace, whatever Python hashes strings by."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def digest_of(seed: int, hash_seed: str) -> str:
    """What `--digest` prints, in a process that hashes strings its own way."""
    command = [sys.executable, "-m", "tests.ledger_simulation", "--first", str(seed), "--seeds", "5", "--digest"]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout


def test_a_seed_is_always_the_same_run() -> None:
    first = digest_of(0, "1")
    assert first == digest_of(0, "2")
    assert int(first.split(" ")[0]) > 1000
    assert first != digest_of(5, "1")
