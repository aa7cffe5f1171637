"""Starts and ends real ledger processes for tests."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ambit.ledger.client import LedgerClient

PROGRAM = Path(__file__).with_name("server_process.py")


@dataclass
class Server:
    """A ledger process. `url` and `health_url` are empty where it ended before it served."""

    process: asyncio.subprocess.Process
    url: str = ""
    health_url: str = ""

    def client(self, component: str = "gateway", deadline_s: float = 10.0) -> LedgerClient:
        """A client that is this component."""
        return LedgerClient(self.url, lambda: f"user-{component}", deadline_s=deadline_s)

    async def kill(self) -> None:
        """Ends it as a crash would."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    async def stop(self) -> int:
        """Ends it as Kubernetes would; its exit status."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        return await self.process.wait()


started: list[asyncio.subprocess.Process] = []
"""Every process of this test run, so that a failed test leaves none behind."""


def log_of(folder: Path) -> str:
    """What the ledgers over `folder` have logged."""
    return folder.with_suffix(".log").read_text()


def _log(folder: Path) -> IO[bytes]:
    folder.mkdir(exist_ok=True)
    return folder.with_suffix(".log").open("ab")


async def start(folder: Path, environ: Mapping[str, str] | None = None, *, again: Server | None = None) -> Server:
    """Starts a ledger over `folder`, and waits until it serves or has ended; where `again` was, if that is given."""
    listen = "127.0.0.1:0" if again is None else again.url.removeprefix("http://")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(PROGRAM),
        str(folder),
        env={**os.environ, "LISTEN": listen, **(environ or {})},
        stdout=asyncio.subprocess.PIPE,
        stderr=_log(folder),
    )
    started.append(process)
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line:
        await process.wait()
        return Server(process)
    said = json.loads(line)
    return Server(process, f"http://{said['operations']}", f"http://{said['health']}")


@asynccontextmanager
async def running(folder: Path, environ: Mapping[str, str] | None = None) -> AsyncGenerator[Server]:
    """A ledger that serves while the block runs."""
    server = await start(folder, environ)
    assert server.url, log_of(folder)
    try:
        yield server
    finally:
        await server.kill()
