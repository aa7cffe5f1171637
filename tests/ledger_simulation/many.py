"""Many seeds, on all cores: the first that fails, by its number and not by the clock, or what they came to together."""

import gc
import logging
import multiprocessing
import signal
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.pool import Pool

from tests.ledger_simulation.incarnation import observed
from tests.ledger_simulation.run import Simulation, Violation

CHUNK = 40
"""Seeds that a process runs before it ends: few, so that it need not collect its garbage, a megabyte a seed, and that
none is left with much while the others are done."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A seed that found something. `what` begins with its number."""

    seed: int
    what: str


@dataclass(frozen=True, slots=True)
class Came:
    """What some seeds came to, none of which found anything."""

    seeds: int = 0
    operations: int = 0
    incarnations: int = 0
    cpu_s: float = 0.0

    def __add__(self, other: "Came") -> "Came":
        return Came(
            self.seeds + other.seeds,
            self.operations + other.operations,
            self.incarnations + other.incarnations,
            self.cpu_s + other.cpu_s,
        )


class OutOfTime(Exception):
    """The limit came first. `came`: what was run until then."""

    def __init__(self, came: Came) -> None:
        super().__init__(f"only {came.seeds} seeds were run within the limit")
        self.came = came


def run_many(first: int, count: int, jobs: int, limit_s: float) -> Came | Failed:
    """Runs `count` seeds from `first` on in `jobs` processes, for at most `limit_s` seconds. Raises OutOfTime."""
    chunks = [range(at, min(at + CHUNK, first + count)) for at in range(first, first + count, CHUNK)]
    ends_s = time.monotonic() + limit_s
    came = Came()
    # What a Ctrl-C raises while a process is forked, Python drops; it waits until the processes are there.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    with multiprocessing.Pool(
        min(jobs, len(chunks)), _begin, maxtasksperchild=1
    ) as pool:  # leaving it ends its processes, whatever ends it
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        for outcome in _in_order(pool, chunks, ends_s):
            if isinstance(outcome, Failed):
                return outcome
            if outcome is None:
                raise OutOfTime(came)
            came += outcome
    return came


def _in_order(pool: Pool, chunks: list[range], ends_s: float) -> Iterator[Came | Failed | None]:
    """What became of each chunk, in their order; None where the time is over."""
    outcomes = pool.imap(run_some, chunks)
    for _ in chunks:
        try:
            yield outcomes.next(max(ends_s - time.monotonic(), 0.0))
        except multiprocessing.TimeoutError:
            yield None
            return


def _begin() -> None:
    """Of each process: Ctrl-C is for the one that started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    prepare()


def prepare() -> None:
    """Has this process run seeds from now on, and nothing else."""
    logging.disable()  # what goes wrong is meant to
    gc.freeze()
    gc.disable()  # a tenth of the time would go into it, and destructors run where they always run


def run_some(seeds: range) -> Came | Failed:
    """Runs seeds one after another, until one fails."""
    began_s = time.process_time()
    came = Came()
    with observed():
        for seed in seeds:
            try:
                report = Simulation(seed).run()
            except Violation as violation:
                return Failed(seed, described(violation))
            came += Came(1, report.operations, report.incarnations)
    return came + Came(cpu_s=time.process_time() - began_s)


def described(violation: Violation) -> str:
    """What a seed found, and where that came from."""
    cause = violation.__cause__
    return f"{violation}\n" + ("" if cause is None else "".join(traceback.format_exception(cause)))
