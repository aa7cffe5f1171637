"""What needs no server: `python -m e2e.bench.ledger.in_process ACCOUNTS PAIRS [STORE]`, one process on one core.

It makes a tree of four levels with so many sessions, lets each settle one call, then so many pairs at random sessions,
and prints as one line of JSON what an idle account takes and what a pair costs at that size. With STORE, a folder, all
that happened is kept in a journal there in batches, and no snapshot is made: for the ledger to recover from.
"""

import gc
import json
import random
import resource
import sys
import time
from pathlib import Path

from ambit.ledger import wire
from ambit.ledger.amounts import Limit, Resource, Window
from ambit.ledger.changes import AnyChange, Codec
from ambit.ledger.journal import Batch
from ambit.ledger.journal.sqlite import SqliteJournal
from ambit.ledger.tree import Tree
from e2e.bench.ledger.systems import LIMIT
from e2e.bench.ledger.systems.ours import USED, WANT, session_path
from e2e.bench.machine import SERVER_CORE, pin

AGENTS = 100
BATCH = 200
GRACE_MS = 24 * 3600 * 1000
LIMITED = (Resource.USD, Resource.TOKENS, Resource.MODEL_CALLS)
BUDGET_LIMITS = tuple(
    Limit(window, resource, LIMIT) for window in (Window.DAY, Window.LIFETIME) for resource in LIMITED
)
SESSION_LIMITS = tuple(Limit(Window.LIFETIME, resource, LIMIT) for resource in LIMITED)


class Ledger:
    """A tree, and the journal of what happens to it where one is wanted."""

    def __init__(self, store: Path | None) -> None:
        self.tree = Tree()
        self._journal = None if store is None else SqliteJournal(store)
        self._gathered: list[AnyChange] = []
        self.changes = 0
        self._now_ms = time.time_ns() // 1_000_000
        self._sequence = 0
        self._sequence_of_batch = 0

    def apply(self, component: str, op: wire.AnyOperation) -> wire.AnyResult:
        outcome = self.tree.apply(component, op, self._now_ms)
        self.changes += len(outcome.changes)
        if self._journal is not None:
            self._gathered.extend(outcome.changes)
            if len(self._gathered) >= BATCH:
                self.flush()
        return outcome.result

    def pair(self, leaf: int) -> None:
        """Reserves and settles one call of a session."""
        self._sequence += 1
        hold = f"bench#{self._sequence}"
        granted = self.apply("gateway", wire.Reserve(hold, session_path(leaf), WANT, WANT, 120_000))
        if not isinstance(granted, wire.Granted):
            raise TypeError(f"not granted: {granted}")
        self.apply("gateway", wire.Settle(hold, USED))

    def flush(self) -> None:
        if self._journal is not None and self._gathered:
            self._sequence_of_batch += 1
            self._journal.append(Batch(self._sequence_of_batch, Codec.encode(self._gathered)), ())
            self._gathered = []


def accounts_above() -> list[wire.PutAccount]:
    """The Budgets and Agents."""
    above = [
        wire.PutAccount("budget/bench/organisation", BUDGET_LIMITS),
        wire.PutAccount("budget/bench/team", BUDGET_LIMITS, "budget/bench/organisation"),
    ]
    above.extend(wire.PutAccount(f"agent/bench/a-{number}", (), "budget/bench/team") for number in range(AGENTS))
    return above


def opening(leaf: int) -> wire.Open:
    """One session, under one of the Agents."""
    return wire.Open(session_path(leaf), f"agent/bench/a-{leaf % AGENTS}", GRACE_MS, SESSION_LIMITS)


def resident_bytes() -> int:
    """What this process has in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def main(accounts: int, pairs: int, store: Path | None) -> None:
    """Builds, measures, prints."""
    pin(SERVER_CORE)
    ledger = Ledger(store)
    for op in accounts_above():
        ledger.apply("operator", op)
    before_bytes = resident_bytes()
    for leaf in range(accounts):
        ledger.apply("gateway", opening(leaf))
        ledger.pair(leaf)
    gc.collect()
    idle_account_bytes = (resident_bytes() - before_bytes) / accounts
    pick = random.Random(1)
    leaves = [pick.randrange(accounts) for _ in range(pairs)]
    began_s = time.process_time()
    for leaf in leaves:
        ledger.pair(leaf)
    pair_us = (time.process_time() - began_s) / pairs * 1e6
    ledger.flush()
    print(json.dumps({"pair_us": pair_us, "idle_account_bytes": idle_account_bytes, "changes": ledger.changes}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) > 3 else None)
