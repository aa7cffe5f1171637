"""Several real ledgers over one PostgreSQL, each a writer, behind one address that leads to any that is ready."""

import asyncio
import signal
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from ambit.ledger.client import LedgerClient
from ambit.ledger.partitions.rendezvous import choices, partition_of
from tests.ledger.replicas import is_ready, tunnel
from tests.ledger.server import Server, start

PARTITIONS = 8
HANG_S = 60.0


async def until(holds: Callable[[], Awaitable[bool]], what: str) -> None:
    """Waits until something holds."""
    ends_s = time.monotonic() + HANG_S
    while not await holds():
        assert time.monotonic() < ends_s, f"not within {HANG_S:g} s: {what}"
        await asyncio.sleep(0.05)


@dataclass
class Writers:
    """The ledgers, and the address before them."""

    folder: Path
    store: str
    http: aiohttp.ClientSession
    servers: list[Server] = field(default_factory=list[Server])
    url: str = ""
    _streams: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])

    def client(self, component: str = "gateway", deadline_s: float = HANG_S) -> LedgerClient:
        """A client that knows the one address."""
        return LedgerClient(self.url, lambda: f"user-{component}", deadline_s=deadline_s)

    async def join(self) -> Server:
        """Starts one more."""
        environ = {"STORE": self.store, "PARTITIONS": str(PARTITIONS)}
        number = len(self.servers)
        server = await start(self.folder / f"ledger-{number}", environ)
        assert server.url, (self.folder / f"ledger-{number}.log").read_text()
        self.servers.append(server)
        return server

    def log(self, server: Server) -> str:
        """What a ledger has logged."""
        return (self.folder / f"ledger-{self.servers.index(server)}.log").read_text()

    def choice(self, partition: int, servers: list[Server]) -> Server:
        """Who is to write a partition, of these."""
        url = choices(PARTITIONS, [server.url for server in servers])[partition]
        return next(server for server in servers if server.url == url)

    async def written(self, server: Server) -> set[int]:
        """The partitions that a ledger writes: it says so where it takes operations."""
        found: set[int] = set()
        for partition in range(PARTITIONS):
            headers = {"Authorization": "Bearer user-gateway", "x-ambit-ledger-partition": str(partition)}
            post = self.http.post(f"{server.url}/v1/ops", data=b'{"ops": []}', headers=headers)
            async with post as response:
                if response.status == 200:
                    found.add(partition)
        return found

    async def settled(self, servers: list[Server]) -> None:
        """Waits until each writes what it is the first choice of, of these, and nothing else."""

        async def is_so() -> bool:
            chosen = choices(PARTITIONS, [server.url for server in servers])
            for server in servers:
                mine = {number for number, url in enumerate(chosen) if url == server.url}
                if await self.written(server) != mine or not await is_ready(self.http, server):
                    return False
            return True

        await until(is_so, "every ledger writes its share")

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carries one connection to a ledger that is ready, as a Service does."""
        for server in self.servers:
            if server.process.returncode is None and await is_ready(self.http, server):
                break
        else:
            writer.close()
            return
        for stream in await tunnel(server, reader, writer):
            self._streams.add(stream)
            stream.add_done_callback(self._streams.discard)


@asynccontextmanager
async def writers(folder: Path, store: str, count: int = 3) -> AsyncGenerator[Writers]:
    """So many ledgers over `store` while the block runs, each with its share."""
    async with aiohttp.ClientSession() as http:
        found = Writers(folder, store, http)
        listener = await asyncio.start_server(found.connect, "127.0.0.1", 0)
        host, port = listener.sockets[0].getsockname()
        found.url = f"http://{host}:{port}"
        try:
            for _ in range(count):
                await found.join()
            await found.settled(found.servers)
            yield found
        finally:
            listener.close()
            for server in found.servers:
                with suppress(ProcessLookupError):
                    server.process.send_signal(signal.SIGCONT)
                await server.kill()


def budget_in(partition: int, name: str = "b") -> str:
    """A root Budget whose tree is in a partition."""
    number = 0
    while partition_of(f"budget/n/{name}-{number}", PARTITIONS) != partition:
        number += 1
    return f"budget/n/{name}-{number}"
