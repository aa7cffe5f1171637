"""Starts and stops the listeners of the data path."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from ambit.gateway.server.connection import Handler, ServerConnection, ServerState
from ambit.telemetry.health import split_address


@asynccontextmanager
async def listen(address: str, handler: Handler, state: ServerState, *, shared: bool = False) -> AsyncGenerator[str]:
    """Serves `handler` at HOST:PORT (port 0: any free one) while the block runs; yields the address it got. `shared`:
    other processes listen there too (SO_REUSEPORT), and the kernel spreads connections over them.

    When the block ends no new connection is accepted; the present ones are `drain`'s to end.
    """
    host, port = split_address(address)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: ServerConnection(handler, state), host, port, backlog=1024, reuse_port=shared or None
    )
    try:
        bound_host, bound_port = server.sockets[0].getsockname()[:2]
        yield f"{bound_host}:{bound_port}"
    finally:
        server.close()


async def drain(state: ServerState, grace_s: float) -> bool:
    """Ends idle connections, and waits at most `grace_s` for the answers under way; whether all were completed."""
    state.draining = True
    for connection in tuple(state.connections):
        connection.drain()
    if state.tasks:
        await asyncio.wait(tuple(state.tasks), timeout=grace_s)
    return not state.tasks
