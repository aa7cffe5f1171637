"""Measures reserve+settle pairs a second through the client: `python -m tests.ledger.measure [SECONDS] [HOLDERS]`.

The ledger and the client are one process each; a Budget under a Budget, an Agent, and a session for each holder, so
that a hold counts at four levels. Prints pairs a second and how long a reserve took.
"""

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from ambit.ledger import wire
from ambit.ledger.amounts import Amount, Limit, Resource, Window
from ambit.ledger.client import LedgerClient
from tests.ledger.server import running

WANT = Amount(usd_nanos=5_000_000, tokens=3000, model_calls=1)
USED = Amount(usd_nanos=3_000_000, tokens=2000, model_calls=1)


async def holder(client: LedgerClient, number: int, until_s: float, took_s: list[float]) -> None:
    """Reserves and settles, one after the other, until `until_s`."""
    call = 0
    while (began_s := time.monotonic()) < until_s:
        call += 1
        hold = f"{number}-{call}"
        answer = await client.reserve(wire.Reserve(hold, f"session/n/s-{number}", WANT, WANT, 60_000))
        took_s.append(time.monotonic() - began_s)
        assert isinstance(answer, wire.Granted)
        await client.settle(wire.Settle(hold, USED))


async def main(seconds: float, holders: int) -> None:
    """Measures and prints."""
    limits = tuple(Limit(window, resource, 2**60) for window in Window for resource in Resource)
    with tempfile.TemporaryDirectory() as folder:
        async with running(Path(folder) / "data") as server, server.client("operator") as operator:
            await operator.put_account(wire.PutAccount("budget/n/top", limits))
            await operator.put_account(wire.PutAccount("budget/n/team", limits, "budget/n/top"))
            await operator.put_account(wire.PutAccount("agent/n/a", (), "budget/n/team"))
            for number in range(holders):
                await operator.open(wire.Open(f"session/n/s-{number}", "agent/n/a", 3_600_000))
            async with server.client() as client:
                took_s: list[float] = []
                began_s = time.monotonic()
                until_s = began_s + seconds
                await asyncio.gather(*(holder(client, number, until_s, took_s) for number in range(holders)))
                elapsed_s = time.monotonic() - began_s
    took_s.sort()
    p50_ms, p99_ms = (took_s[int(len(took_s) * share)] * 1000 for share in (0.5, 0.99))
    print(f"{holders} holders: {len(took_s) / elapsed_s:.0f} pairs/s, reserve p50 {p50_ms:.1f} ms, p99 {p99_ms:.1f} ms")


if __name__ == "__main__":
    seconds, holders = [*sys.argv[1:], *("5", "200")[len(sys.argv) - 1 :]]
    asyncio.run(main(float(seconds), int(holders)))
