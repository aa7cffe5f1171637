"""Measures the ledger's core alone: `python -m tests.ledger.measure_tree [ACCOUNTS...]`, by default 100 10000 1000000.

For each number of session accounts under a 4-level tree (Budget, Budget, Agent, session; limits on each level): the
cost of a reserve and its settle on random sessions, with the operation's decoding and the changes' encoding; how that
grows; the resident memory of an idle session that has settled one call; and how fast those changes are replayed.
"""

import gc
import os
import random
import resource
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from ambit.ledger import wire
from ambit.ledger.amounts import Amount, Limit, Resource, Window
from ambit.ledger.changes import Codec
from ambit.ledger.tree import Tree

NOW_MS = 1_767_268_800_000
PAIRS = 100_000
LIMITS = tuple(
    Limit(window, counted, 2**60)
    for window in (Window.LIFETIME, Window.DAY, Window.MINUTE)
    for counted in (Resource.USD, Resource.TOKENS, Resource.MODEL_CALLS)
)
BOUNDS = tuple(limit for limit in LIMITS if limit.window is Window.LIFETIME)
WANT = Amount(usd_nanos=5_000_000, tokens=3000, model_calls=1)
USED = Amount(usd_nanos=3_000_000, tokens=2000, model_calls=1)
_operation = msgspec.json.Decoder(wire.AnyOperation)


def path_of(number: int) -> str:
    """A session's account."""
    return f"session/team-a/s-{number:016x}"


def resident_bytes() -> int:
    """Of this process, now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


class Driver:
    """A tree, asked in bytes as a service is."""

    def __init__(self) -> None:
        self.tree = Tree()
        self.batches: list[bytes] = []
        self.changes = 0
        self.keep = False
        self._sequence = 0

    def do(self, op: bytes, component: str = "gateway", now_ms: int = NOW_MS) -> wire.AnyResult:
        outcome = self.tree.apply(component, _operation.decode(op), now_ms)
        batch = Codec.encode(outcome.changes)
        if self.keep:
            self.batches.append(batch)
            self.changes += len(outcome.changes)
        return outcome.result

    def grow(self, sessions: int) -> None:
        """Makes the tree, with sessions that have each settled a call."""
        self.do(encoded(wire.PutAccount("budget/n/top", LIMITS)), "operator")
        self.do(encoded(wire.PutAccount("budget/n/team", LIMITS, "budget/n/top")), "operator")
        self.do(encoded(wire.PutAccount("agent/n/a", LIMITS, "budget/n/team")), "operator")
        for number in range(sessions):
            path = path_of(number)
            now_ms = NOW_MS + number // 20  # 20,000 a second
            self.do(encoded(wire.Open(path, "agent/n/a", 86_400_000, BOUNDS)), now_ms=now_ms)
            self.pair(path, now_ms)

    def pair(self, path: str, now_ms: int) -> None:
        """One call."""
        self._sequence += 1
        hold = f"gateway-1#{self._sequence}"
        reserve = encoded(wire.Reserve(hold, path, WANT, WANT, 120_000))
        settle = encoded(wire.Settle(hold, USED))
        assert type(self.do(reserve, now_ms=now_ms)) is wire.Granted
        assert type(self.do(settle, now_ms=now_ms)) is wire.Settled


def encoded(op: wire.AnyOperation) -> bytes:
    """As a client writes it."""
    return msgspec.json.encode(op)


def timed_pairs(driver: Driver, sessions: int) -> float:
    """Microseconds per pair, encoding of the operations by the client left out."""
    chance = random.Random(7)
    now_ms = NOW_MS + sessions // 20 + 1000
    ops: list[tuple[bytes, bytes]] = []
    for number in range(PAIRS):
        hold = f"gateway-2#{number + 1}"
        path = path_of(chance.randrange(sessions))
        ops.append((encoded(wire.Reserve(hold, path, WANT, WANT, 120_000)), encoded(wire.Settle(hold, USED))))
    began = time.process_time()
    for number, (reserve, settle) in enumerate(ops):
        driver.do(reserve, now_ms=now_ms + number // 10)  # 10,000 pairs a second
        driver.do(settle, now_ms=now_ms + number // 10)
    return (time.process_time() - began) / PAIRS * 1e6


def measure(sessions: int) -> None:
    """Measures with so many sessions, in this process."""
    gc.disable()
    driver = Driver()
    driver.keep = sessions <= 400_000
    before = resident_bytes()
    driver.grow(sessions)
    idle_bytes = (resident_bytes() - before) / sessions
    gc.freeze()
    gc.enable()
    if not driver.keep:
        print(f"{sessions:>9} sessions: {idle_bytes:.0f} bytes resident each")
    pair_us = min(timed_pairs(driver, sessions) for _ in range(1))
    print(f"{sessions:>9} sessions: {pair_us:.1f} µs a pair")
    if driver.keep and sessions > 100:
        gc.disable()
        began, tree = time.process_time(), Tree()
        for batch in driver.batches:
            tree.replay(Codec.decode(batch))
        took_s = time.process_time() - began
        print(f"{sessions:>9} sessions: {driver.changes} changes replayed, {took_s / driver.changes * 1e6:.1f} µs each")


if __name__ == "__main__":
    if len(sys.argv) == 2:
        measure(int(sys.argv[1]))
    else:
        for each in sys.argv[1:] or ("100", "10000", "1000000"):
            program = [sys.executable, "-m", "tests.ledger.measure_tree", each]
            subprocess.run(program, check=True, env=os.environ)
