"""A provider that answers whatever bytes it is told to, over plain TCP: what no HTTP library would let through."""

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Lie = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""Answers one request, whose head has been read; the rest of it, `Content-Length` bytes, waits in the reader."""
_LIE = re.compile(rb"lie=(\w+)")


@dataclass
class LyingProvider:
    """Which lie a request gets says its body: `lie=NAME` in the model's name."""

    lies: dict[str, Lie]
    url: str = ""
    connections: int = 0
    """How many were opened to it."""
    asked: list[str] = field(default_factory=list[str])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers one request after the other, until the gateway has gone."""
        self.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while not reader.at_eof():
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head)
                assert length is not None
                body = await reader.readexactly(int(length[1]))
                named = _LIE.search(body)
                assert named is not None
                self.asked.append(named[1].decode())
                await self.lies[self.asked[-1]](reader, writer)
        writer.close()


def bytes_of(answer: bytes, *, closes: bool = False) -> Lie:
    """Says this, and then nothing; or hangs up."""

    async def lie(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        if closes:
            writer.close()

    return lie


def endless(begin: bytes, again: bytes) -> Lie:
    """Says `again` for as long as anybody listens."""

    async def lie(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(begin)
        while not writer.is_closing():
            writer.write(again)
            await writer.drain()
            await asyncio.sleep(0)

    return lie


@asynccontextmanager
async def running(lies: dict[str, Lie]) -> AsyncGenerator[LyingProvider]:
    """Serves on loopback while the block runs."""
    provider = LyingProvider(lies)
    tasks: set[asyncio.Task[None]] = set()

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(provider.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accepted, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    provider.url = f"http://{host}:{port}"
    try:
        yield provider
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
