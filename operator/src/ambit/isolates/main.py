"""The process `ambit isolate-host`."""

import asyncio
import logging
import signal
from contextlib import AsyncExitStack

from aiohttp import web

from ambit.isolates.code import CodeStore
from ambit.isolates.identity import GatewayIdentity
from ambit.isolates.ingress import Ingress
from ambit.isolates.outside import Outside, ProjectedToken
from ambit.isolates.process import hide_own_memory
from ambit.isolates.sessions import Sessions
from ambit.isolates.settings import Settings
from ambit.isolates.shard import empty_state
from ambit.isolates.shards import Shards
from ambit.telemetry import health

log = logging.getLogger(__name__)

DRAIN_S = 2.0
"""At SIGTERM the gateway's streams are ended after this long: sessions do not survive their host (yet)."""


async def run(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT; then no shard is left."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    hide_own_memory()
    empty_state(settings.state_dir)
    code = CodeStore(settings.code_store_bytes)
    identity = GatewayIdentity(settings.gateway_public_key, settings.pod_uid)
    async with AsyncExitStack() as stack:
        outside = await stack.enter_async_context(
            Outside(code, settings.gateway_url, ProjectedToken(settings.gateway_token_file))
        )
        shards = Shards(settings, outside)
        outside.sessions = sessions = Sessions(shards, settings.sessions_per_shard)
        keeping = asyncio.create_task(shards.run())
        stack.push_async_callback(_cancelled, keeping)
        ingress = Ingress(identity, code, sessions, settings.input_bytes)
        runner = web.AppRunner(
            ingress.application(), access_log=None, handler_cancellation=True, shutdown_timeout=DRAIN_S
        )
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, *health.split_address(settings.host_listen)).start()
        at = await stack.enter_async_context(
            health.serve(settings.health_listen, lambda: None if shards.ready else "a shard")
        )
        log.info("serving", extra={"fields": {"sessions": runner.addresses[0], "health": at}})
        await asyncio.wait({keeping, asyncio.create_task(stop.wait())}, return_when=asyncio.FIRST_COMPLETED)
        if keeping.done():
            keeping.result()  # raises what ended it: that is a defect, and the container restarts


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})
