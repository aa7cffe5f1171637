"""Runs seeds: `python -m tests.ledger_simulation --seeds 10000`, or one of them: `--seed 17 --trace`."""

import argparse
import gc
import logging
import sys
import time
import traceback

from tests.ledger_simulation.cluster import observed
from tests.ledger_simulation.run import Report, Simulation, Violation
from tests.ledger_simulation.trace import Digest


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.ledger_simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10_000, help="how many, from --first on")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, help="this one alone")
    parser.add_argument("--trace", action="store_true", help="say all that happens")
    parser.add_argument("--limit-s", type=float, default=float("inf"), help="begin no seed after so long")
    parser.add_argument("--digest", action="store_true", help="print the hash of all that happened")
    asked = parser.parse_args(arguments)
    logging.disable()  # what goes wrong is meant to
    gc.disable()  # in steps of our own, so that destructors run where they always run
    first, count = (asked.first, asked.seeds) if asked.seed is None else (asked.seed, 1)
    began_s = time.monotonic()
    reports: list[Report] = []
    digest = Digest()
    with observed():
        for seed in range(first, first + count):
            if time.monotonic() - began_s > asked.limit_s:
                break
            write = digest.write if asked.digest else print if asked.trace else None
            try:
                reports.append(Simulation(seed, write).run())
            except Violation as violation:
                print(violation, file=sys.stderr)
                if violation.__cause__ is not None:
                    traceback.print_exception(violation.__cause__)
                print(f"alone: python -m tests.ledger_simulation --seed {seed} --trace", file=sys.stderr)
                return 1
            if seed % 50 == 0:
                gc.collect()
    took_s = time.monotonic() - began_s
    operations = sum(report.operations for report in reports)
    if asked.digest:
        print(f"{digest.lines} lines, {digest.hexdigest()}")
        return 0
    print(
        f"{len(reports)} of {count} seeds, {operations} operations ({operations / len(reports):.0f} each), "
        f"{sum(report.incarnations for report in reports)} ledgers: no violation in {took_s:.1f} s "
        f"({took_s / operations * 1e6:.0f} us an operation)"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
