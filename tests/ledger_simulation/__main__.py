"""Runs seeds: `python -m tests.ledger_simulation --seeds 10000`, or one of them: `--seed 17 --trace`."""

import argparse
import os
import sys
import time

from tests.ledger_simulation.incarnation import observed
from tests.ledger_simulation.many import Came, Failed, OutOfTime, described, prepare, run_many
from tests.ledger_simulation.run import Simulation, Violation
from tests.ledger_simulation.trace import Digest

A_DAY_S = 86_400.0


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.ledger_simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10_000, help="how many, from --first on")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="processes; default: the cores")
    parser.add_argument("--limit-s", type=float, default=A_DAY_S, help="fail where they are not done within so long")
    parser.add_argument("--seed", type=int, help="this one alone")
    parser.add_argument("--trace", action="store_true", help="of that one: say all that happens")
    parser.add_argument("--digest", action="store_true", help="print the hash of all that happens, and nothing else")
    asked = parser.parse_args(arguments)
    if asked.digest:
        return _digest(asked.first, asked.seeds)
    if asked.seed is not None:
        return _one(asked.seed, asked.trace)
    return _many(asked.first, asked.seeds, asked.jobs, asked.limit_s)


def _many(first: int, count: int, jobs: int, limit_s: float) -> int:
    began_s = time.monotonic()
    try:
        outcome = run_many(first, count, jobs, limit_s)
    except OutOfTime as error:
        print(f"out of time: {_figures(error.came, count, time.monotonic() - began_s)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("ended from outside", file=sys.stderr)
        return 130
    if isinstance(outcome, Failed):
        print(outcome.what, file=sys.stderr)
        print(f"alone: python -m tests.ledger_simulation --seed {outcome.seed} --trace", file=sys.stderr)
        return 1
    print(f"no violation: {_figures(outcome, count, time.monotonic() - began_s)}")
    return 0


def _figures(came: Came, wanted: int, took_s: float) -> str:
    each = (
        f"{came.operations / came.seeds:.0f} each, {came.cpu_s / came.operations * 1e6:.0f} us" if came.seeds else "-"
    )
    return (
        f"{came.seeds} of {wanted} seeds in {took_s:.1f} s ({came.seeds / took_s:.1f} a second), {came.operations} "
        f"operations ({each} of a core's time an operation), {came.incarnations} ledgers"
    )


def _one(seed: int, trace: bool) -> int:
    prepare()
    with observed():
        try:
            report = Simulation(seed, print if trace else None).run()
        except Violation as violation:
            print(described(violation), file=sys.stderr)
            return 1
    print(f"no violation: {report}")
    return 0


def _digest(first: int, count: int) -> int:
    prepare()
    digest = Digest()
    with observed():
        for seed in range(first, first + count):
            Simulation(seed, digest.write).run()
    print(f"{digest.lines} lines, {digest.hexdigest()}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
