"""Two real ledgers over one PostgreSQL, behind one address that leads to whichever is ready, as a Service does."""

import asyncio
import signal
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from ambit.ledger.client import LedgerClient
from tests.ledger.server import Server, start

PROBE_S = 0.05
PROBE_TIMEOUT_S = 0.5
READY_WITHIN_S = 90.0


async def is_ready(http: aiohttp.ClientSession, server: Server) -> bool:
    """What a kubelet's probe would say."""
    try:
        async with http.get(
            f"{server.health_url}/readyz", timeout=aiohttp.ClientTimeout(total=PROBE_TIMEOUT_S)
        ) as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False


@dataclass
class Replicas:
    """The ledgers, and the address before them."""

    http: aiohttp.ClientSession
    servers: list[Server] = field(default_factory=list[Server])
    url: str = ""
    ready: Server | None = None
    turned: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when one is found ready."""
    _streams: dict[asyncio.Task[None], Server] = field(default_factory=dict[asyncio.Task[None], Server])

    def client(self, component: str = "gateway", deadline_s: float = 30.0) -> LedgerClient:
        """A client of whichever is ready."""
        return LedgerClient(self.url, lambda: f"user-{component}", deadline_s=deadline_s)

    async def writer(self, other_than: Server | None = None) -> Server:
        """Waits until one is ready."""
        async with asyncio.timeout(READY_WITHIN_S):
            while self.ready is None or self.ready is other_than:
                self.turned.clear()
                await self.turned.wait()
        return self.ready

    async def takeover_s(self, old: Server, since_s: float) -> float:
        """How long it took from `since_s` until another than `old` answered."""
        await self.writer(other_than=old)
        return time.monotonic() - since_s

    async def watch(self, server: Server) -> None:
        """Follows whether one is ready, and cuts the connections to it when it is not, for ever."""
        while True:
            if await is_ready(self.http, server):
                self.ready = self.ready or server
                self.turned.set()
            elif self.ready is server:
                self.ready = None
                for stream in [stream for stream, of in self._streams.items() if of is server]:
                    stream.cancel()
            await asyncio.sleep(PROBE_S)

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carries one connection to the ready ledger."""
        server = self.ready
        if server is None:
            writer.close()
            return
        for stream in await tunnel(server, reader, writer):
            self._streams[stream] = server
            stream.add_done_callback(lambda done: self._streams.pop(done, None))


async def tunnel(
    server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> list[asyncio.Task[None]]:
    """Joins a connection to a ledger, as a Service does: the tasks that carry it, none where nobody listens."""
    host, _, port = server.url.removeprefix("http://").rpartition(":")
    try:
        there_reader, there_writer = await asyncio.open_connection(host, int(port))
    except OSError:
        writer.close()
        return []
    return [asyncio.create_task(way) for way in (_carry(reader, there_writer), _carry(there_reader, writer))]


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copies bytes one way until either end is gone."""
    with suppress(OSError):
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()


@asynccontextmanager
async def replicas(folder: Path, store: str, count: int = 2) -> AsyncGenerator[Replicas]:
    """So many ledgers over `store` while the block runs."""
    async with aiohttp.ClientSession() as http:
        found = Replicas(http)
        for number in range(count):
            server = await start(folder / f"ledger-{number}", {"STORE": store})
            assert server.url, (folder / f"ledger-{number}.log").read_text()
            found.servers.append(server)
        watching = [asyncio.create_task(found.watch(server)) for server in found.servers]
        listener = await asyncio.start_server(found.connect, "127.0.0.1", 0)
        host, port = listener.sockets[0].getsockname()
        found.url = f"http://{host}:{port}"
        try:
            await found.writer()
            yield found
            for watch in watching:
                if watch.done():
                    await watch
        finally:
            for watch in watching:
                watch.cancel()
            listener.close()
            for server in found.servers:
                with suppress(ProcessLookupError):
                    server.process.send_signal(signal.SIGCONT)
                await server.kill()
