"""The servers under test, each a process of its own on the servers' core."""

import asyncio
import json
import re
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from ambit.ledger.client import LedgerClient
from e2e.bench.ledger.in_process import accounts_above, opening

SETTING_UP_AT_ONCE = 500


@dataclass(frozen=True)
class RunningLedger:
    """A ledger process that serves."""

    url: str
    health_url: str
    started_in_s: float
    """From its start until it served: with a journal to recover, nearly all of that."""

    def commits(self) -> int:
        """How many commits it has made, each with one sync."""
        with urlopen(f"{self.health_url}/metrics", timeout=10) as answer:
            exposed = answer.read().decode()
        found = re.search(r"^ambit_ledger_commit_seconds_count (\S+)$", exposed, re.MULTILINE)
        return 0 if found is None else int(float(found[1]))


@asynccontextmanager
async def ledger(store: str) -> AsyncGenerator[RunningLedger]:
    """The ledger over `store`, a folder or a PostgreSQL address, while the block runs."""
    began_s = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "e2e.bench.ledger.ledger_process",
        store,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        said = json.loads(await process.stdout.readline())
        took_s = time.perf_counter() - began_s
        yield RunningLedger(f"http://{said['operations']}", f"http://{said['health']}", took_s)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def open_sessions(url: str, leaves: int) -> None:
    """Makes the tree with so many sessions, as the operator and the gateway would."""
    async with LedgerClient(url, lambda: "user-operator") as operator:
        for op in accounts_above():
            await operator.put_account(op)
    async with LedgerClient(url, lambda: "user-gateway") as gateway:
        for first in range(0, leaves, SETTING_UP_AT_ONCE):
            last = min(first + SETTING_UP_AT_ONCE, leaves)
            await asyncio.gather(*(gateway.open(opening(leaf)) for leaf in range(first, last)))


def empty_folder(path: Path) -> Path:
    """A new folder; its parents too."""
    path.mkdir(parents=True)
    return path
