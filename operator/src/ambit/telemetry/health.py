"""The health listener that every process has: `/healthz`, `/readyz`, `/metrics`.

It runs on the process's own event loop, so that a process whose loop hangs fails its liveness probe.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

NotReady = Callable[[], str | None]
"""Says what a process still waits for; None: it is ready."""


def split_address(listen: str) -> tuple[str, int]:
    """`"0.0.0.0:9090"` → `("0.0.0.0", 9090)`. Raises ValueError, saying what to write instead."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"{listen!r} is no address to listen on; write HOST:PORT, for example 0.0.0.0:9090")
    return host.strip("[]"), int(port)


@asynccontextmanager
async def serve(
    listen: str, not_ready: NotReady, exposition: Callable[[], Awaitable[bytes]] | None = None
) -> AsyncGenerator[str]:
    """Serves the three paths at `listen` (HOST:PORT; port 0: any free one) while the block runs. `exposition`: what
    `/metrics` says, where that is more than this process's own.

    Yields the address it got, HOST:PORT.
    """

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        waiting_for = not_ready()
        if waiting_for is None:
            return web.Response(text="ok\n")
        return web.Response(status=503, text=f"not ready: {waiting_for}\n")

    async def metrics(_: web.Request) -> web.Response:
        body = generate_latest() if exposition is None else await exposition()
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    host, port = split_address(listen)
    try:
        await web.TCPSite(runner, host, port).start()
        bound_host, bound_port = runner.addresses[0][:2]
        yield f"{bound_host}:{bound_port}"
    finally:
        await runner.cleanup()
