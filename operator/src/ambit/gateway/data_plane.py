"""Puts the data path together: what its two listeners share, built once."""

import asyncio
import random
import ssl
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from ambit.gateway.admission import QUEUE_S
from ambit.gateway.admitting import Admitting
from ambit.gateway.attempts.backends import ROOM_S, Backends
from ambit.gateway.calls import Calls
from ambit.gateway.data_path import DataPath
from ambit.gateway.holding_ahead.ahead import UNUSED_S
from ambit.gateway.identity.isolate_hosts import IsolateHosts, TokenReviewer
from ambit.gateway.identity.session_directory import SessionDirectory
from ambit.gateway.identity.session_tokens import SessionTokens
from ambit.gateway.live_calls import LiveCalls
from ambit.gateway.routes.allowed_models import AllowedModels
from ambit.gateway.routes.world import World
from ambit.gateway.server import listener
from ambit.gateway.server.connection import ServerState
from ambit.gateway.server.limits import BodyMemory, Limits
from ambit.gateway.server.upstream import UpstreamPool
from ambit.ledger.client import LedgerClient
from ambit.telemetry import metrics

SETTLE_AT_END_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class DataPlaneSettings:
    """What the data path is told by the gateway's settings."""

    sandbox_listen: str
    isolate_listen: str
    session_signer_pem: bytes
    """The public key of session tokens."""
    hold_expires_in_ms: int
    silence_s: float
    drain_s: float
    limits: Limits = field(default_factory=Limits)
    upstream_tls: ssl.SSLContext | None = None
    """None: the system's certificate authorities."""
    shared: bool = False
    """Whether other processes of this gateway listen at the same addresses."""
    hold_ahead: bool = True
    """Whether a session's likely next call is held before it is made."""
    unused_s: float = UNUSED_S
    """For how long without a call such a hold is kept."""
    queue_s: float = QUEUE_S
    """For how long a call waits for room that others hold, or for the next minute."""
    room_s: float = ROOM_S
    """How long a call waits for a backend that has as many under way as it may."""
    draw: Callable[[], float] = random.random
    """From [0, 1): which of several backends of one priority a call goes to."""
    clock_s: Callable[[], float] = time.monotonic
    """By which backends rest."""


@dataclass(frozen=True, slots=True)
class DataPlane:
    """A data path that serves."""

    sandbox_address: str
    isolate_address: str
    session_opened: Callable[[str, str], None]
    """To be told of each session that this process opens, and of its parent: its first call may come soon."""
    close_after_answers: Callable[[], None]
    """From now on each connection is closed after its next answer, which says so: clients find another gateway."""
    backends: Backends
    """What this process knows of the routes' backends."""


@asynccontextmanager
async def serve(
    settings: DataPlaneSettings, ledger: LedgerClient, world: World, reviewer: TokenReviewer
) -> AsyncGenerator[DataPlane]:
    """Serves sandboxes and isolate hosts while the block runs.

    At its end: no new connection, calls under way have `drain_s`, what is left is cut in its format's own words, and
    everything is settled.
    """
    admitting = Admitting.over(
        ledger,
        hold_expires_in_ms=settings.hold_expires_in_ms,
        hold_ahead=settings.hold_ahead,
        unused_s=settings.unused_s,
        queue_s=settings.queue_s,
    )
    metrics.GATEWAY_QUEUE.set_function(lambda: admitting.queue.waiting)
    metrics.GATEWAY_HOLDS_AHEAD_UNUSED.set_function(lambda: admitting.ahead.unused)
    sessions = SessionDirectory(ledger, time.monotonic)
    live = LiveCalls(ledger, admitting.queue.session_ended)
    upstream = UpstreamPool(settings.upstream_tls)
    backends = Backends(settings.clock_s)
    metrics.GATEWAY_BACKENDS_OUT.set_function(lambda: sum(1 for _ in backends.out()))
    models = AllowedModels(world)
    calls = Calls(
        world=world,
        models=models,
        admitting=admitting,
        live=live,
        upstream=upstream,
        backends=backends,
        draw=settings.draw,
        silence_s=settings.silence_s,
        room_s=settings.room_s,
    )
    sandboxes = DataPath(SessionTokens(settings.session_signer_pem, sessions, time.time), calls, models)
    isolates = DataPath(IsolateHosts(reviewer, sessions, time.monotonic), calls, models)
    state = ServerState(settings.limits, BodyMemory(settings.limits.all_bodies_bytes))
    admitting.events.subscribe(sessions.on_event)
    admitting.events.subscribe(live.on_event)

    def listen(address: str, path: DataPath) -> AbstractAsyncContextManager[str]:
        return listener.listen(address, path, state, shared=settings.shared)

    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(admitting.events.run())
        try:
            async with AsyncExitStack() as listeners:
                yield DataPlane(
                    await listeners.enter_async_context(listen(settings.sandbox_listen, sandboxes)),
                    await listeners.enter_async_context(listen(settings.isolate_listen, isolates)),
                    admitting.ahead.opened,
                    state.close_after_answers,
                    backends,
                )
            await admitting.ahead.stop(SETTLE_AT_END_S)
            if not await listener.drain(state, settings.drain_s):
                live.cut_all()
                await listener.drain(state, SETTLE_AT_END_S)
            await admitting.settlements.finish(SETTLE_AT_END_S)
        finally:
            upstream.close()
            following.cancel()
