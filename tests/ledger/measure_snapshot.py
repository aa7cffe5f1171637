"""Measures the writer while a snapshot is made: `python -m tests.ledger.measure_snapshot [FOLDER] [SESSIONS]`.

So many sessions are opened, which makes a snapshot due; then holds are reserved and settled at a steady pace by one
client, open loop, before, while and after it is made. Prints how long reserves took, apart.
"""

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from ambit.ledger import wire
from ambit.ledger.amounts import Amount
from ambit.ledger.client import LedgerClient
from tests.ledger.server import Server, log_of, running

ONE = Amount(model_calls=1)
PER_SECOND = 100
BEFORE_S, AFTER_S = 5.0, 5.0
OPENED_AT_ONCE = 500


async def open_sessions(server: Server, sessions: int) -> None:
    async with server.client("operator") as operator:
        await operator.put_account(wire.PutAccount("budget/n/b"))
        await operator.put_account(wire.PutAccount("agent/n/a", parent="budget/n/b"))
    async with server.client(deadline_s=60) as client:
        for first in range(0, sessions, OPENED_AT_ONCE):
            each = range(first, min(first + OPENED_AT_ONCE, sessions))
            await asyncio.gather(
                *(client.open(wire.Open(f"session/n/s-{number}", "agent/n/a", 24 * 3600 * 1000)) for number in each)
            )


async def act(client: LedgerClient, number: int, took: list[tuple[float, float]]) -> None:
    began_s = time.monotonic()
    hold = client.next_id()
    await client.reserve(wire.Reserve(hold, f"session/n/s-{number}", ONE, ONE, 60_000))
    took.append((began_s, time.monotonic() - began_s))
    await client.settle(wire.Settle(hold, ONE))


def percentiles(took_s: list[float]) -> str:
    ordered = sorted(took_s)
    p50, p99 = (ordered[int(len(ordered) * share)] * 1000 for share in (0.5, 0.99))
    return f"{len(ordered)} reserves, p50 {p50:.1f} ms, p99 {p99:.1f} ms, most {ordered[-1] * 1000:.1f} ms"


async def main(folder: Path, sessions: int) -> None:
    data = folder / "data"
    async with running(data, {"COMPACT_AFTER_CHANGES": str(sessions + 200)}) as server:
        await open_sessions(server, sessions)
        took: list[tuple[float, float]] = []
        acting: set[asyncio.Task[None]] = set()
        began_s, made_s = 0.0, 0.0
        async with server.client(deadline_s=60) as client:
            started_s = time.monotonic()
            number = 0
            while not made_s or time.monotonic() < made_s + AFTER_S:
                number += 1
                acting.add(asyncio.create_task(act(client, number % sessions, took)))
                await asyncio.sleep(max(started_s + number / PER_SECOND - time.monotonic(), 0))
                if not began_s and any(data.glob("snapshot-*.unfinished")):
                    began_s = time.monotonic()
                if not made_s and '"snapshot"' in log_of(data):
                    made_s = time.monotonic()
            await asyncio.gather(*acting)
    # It begins with the process, some time before its file is there: all until it was made counts as meanwhile.
    took_s = made_s - started_s
    print(f"{sessions} sessions, {PER_SECOND} reserves and settles a second; snapshot made after {took_s:.1f} s")
    print("while it was made:", percentiles([each for at_s, each in took if at_s < made_s]))
    print("after it:         ", percentiles([each for at_s, each in took if at_s >= made_s]))


if __name__ == "__main__":
    arguments = sys.argv[1:]
    with tempfile.TemporaryDirectory(dir=arguments[0] if arguments else None) as name:
        asyncio.run(main(Path(name), int(arguments[1]) if len(arguments) > 1 else 100_000))
