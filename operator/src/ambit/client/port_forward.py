"""A port of a pod, reached through the apiserver: a local port whose connections travel over WebSockets.

The subprotocol is `v4.channel.k8s.io`, as the kubelet has it: one WebSocket a connection, each message begins with a
channel's number (0 data, 1 error), and the first message of each channel is the port as two bytes.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import quote

import aiohttp

from ambit.api.names import COMPONENT_LABEL, GATEWAY_COMPONENT
from ambit.client.errors import ClientError

SUBPROTOCOL: Final = "v4.channel.k8s.io"
DATA: Final = 0
ERROR: Final = 1
CHUNK_BYTES: Final = 32 * 1024

_log = logging.getLogger(__name__)


@asynccontextmanager
async def forwarded(
    session: aiohttp.ClientSession, namespace: str, pod: str, port: int, *, server_name: str | None = None
) -> AsyncGenerator["Forward"]:
    """Listens on a free port of 127.0.0.1 while the block runs.

    `session` speaks to the apiserver, as the user; `server_name` is whom its certificate names, if not its host.
    """
    path = f"/api/v1/namespaces/{quote(namespace)}/pods/{quote(pod)}/portforward?ports={port}"
    forward = Forward(session, path, server_name)
    server = await asyncio.start_server(forward.accept, "127.0.0.1", 0)
    forward.port = server.sockets[0].getsockname()[1]
    try:
        yield forward
    finally:
        server.close()
        await forward.close()


class Forward:
    """A listening port-forward."""

    def __init__(self, session: aiohttp.ClientSession, path: str, server_name: str | None) -> None:
        self._session = session
        self._path = path
        self._server_name = server_name
        self._carrying: set[asyncio.Task[None]] = set()
        self.port = 0
        """The local port."""
        self.problem: str | None = None
        """What the apiserver or the kubelet last complained of; None: nothing."""

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carries one connection, in a task that `close` ends."""
        task = asyncio.create_task(self._carry(reader, writer))
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with self._session.ws_connect(
                self._path, protocols=(SUBPROTOCOL,), max_msg_size=0, server_hostname=self._server_name
            ) as socket:
                await self._both_ways(socket, reader, writer)
        except aiohttp.WSServerHandshakeError as error:
            self.problem = f"the apiserver refused to forward the port ({error.status} {error.message})"
        except (aiohttp.ClientError, OSError) as error:
            self.problem = f"the port-forward broke off: {error}"
        finally:
            writer.close()

    async def close(self) -> None:
        """Ends all connections."""
        for task in self._carrying:
            task.cancel()
        await asyncio.gather(*self._carrying, return_exceptions=True)

    async def _both_ways(
        self, socket: aiohttp.ClientWebSocketResponse, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        inward = asyncio.create_task(self._inward(socket, writer))
        outward = asyncio.create_task(_outward(socket, reader))
        try:
            # The protocol cannot half-close: the first end is the end.
            await asyncio.wait({inward, outward}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (inward, outward):
                task.cancel()
            for result in await asyncio.gather(inward, outward, return_exceptions=True):
                if isinstance(result, Exception):
                    _log.debug("port-forward: %s", result)

    async def _inward(self, socket: aiohttp.ClientWebSocketResponse, writer: asyncio.StreamWriter) -> None:
        begun: set[int] = set()
        async for message in socket:
            if message.type is not aiohttp.WSMsgType.BINARY or not message.data:
                continue
            channel, content = message.data[0], message.data[1:]
            if channel not in begun:
                begun.add(channel)
                content = content[2:]
            if channel == ERROR and content:
                self.problem = content.decode("utf-8", "replace").strip()
            if channel == DATA and content:
                writer.write(content)
                await writer.drain()


async def _outward(socket: aiohttp.ClientWebSocketResponse, reader: asyncio.StreamReader) -> None:
    while content := await reader.read(CHUNK_BYTES):
        await socket.send_bytes(bytes((DATA,)) + content)


def unreachable(forward: Forward, error: Exception) -> ClientError:
    """Why nothing came through, as far as is known."""
    return ClientError(
        f"the gateway cannot be reached: {forward.problem or error}. See `kubectl get pods -A -l"
        f" {COMPONENT_LABEL}={GATEWAY_COMPONENT}`."
    )
