"""The gateway's process: all listeners, what they watch, and a clean stop."""

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass

from ambit.gateway import data_plane, workers
from ambit.gateway.routes.health_reports import HealthReports
from ambit.gateway.routes.world import WatchedWorld
from ambit.gateway.sessions import listener as people
from ambit.gateway.settings import Settings
from ambit.kube import KubeClient, KubeConfig
from ambit.kube.config import TokenFile
from ambit.ledger.client import LedgerClient
from ambit.policy import GatewayAccount
from ambit.telemetry import documentation, health

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the process listens, HOST:PORT each."""

    sandboxes: str
    isolates: str
    health: str


class _Readiness:
    """What the process still waits for; every listener's needs in one place."""

    def __init__(self) -> None:
        self.reasons: list[Callable[[], str | None]] = [lambda: "starting"]

    def __call__(self) -> str | None:
        return next((reason for check in self.reasons if (reason := check()) is not None), None)


async def run(settings: Settings, *, listening: Callable[[Addresses], None] | None = None) -> None:
    """Serves until SIGTERM or SIGINT, by as many processes as the settings say; `listening` is told the addresses once
    they are served.

    Raises OSError, ValueError and ConfigError where keys, addresses or the apiserver's configuration cannot be used,
    and WorkerFailed where that is so of another process.
    """
    if settings.workers > 1 and settings.worker is None:
        await _run_workers(settings, listening)
    else:
        await _serve(settings, listening)


async def _run_workers(settings: Settings, listening: Callable[[Addresses], None] | None) -> None:
    """Starts this very program again, as often as there are workers; listens to nothing but the health port itself."""
    loop = asyncio.get_running_loop()
    said: asyncio.Future[None] = loop.create_future()
    with ExitStack() as ports:
        kept_for_sandboxes, sandboxes = workers.reserved(settings.sandbox_listen)
        ports.enter_context(kept_for_sandboxes)
        kept_for_isolates, isolates = workers.reserved(settings.isolate_listen)
        ports.enter_context(kept_for_isolates)
        environ = {
            **os.environ,
            "AMBIT_SANDBOX_LISTEN": sandboxes,
            "AMBIT_ISOLATE_LISTEN": isolates,
            "AMBIT_HEALTH_LISTEN": "127.0.0.1:0",
        }
        command = [sys.executable, *sys.orig_argv[1:]]
        several = workers.Workers(command, [environ] * settings.workers, lambda: said.set_result(None))
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, several.stop)
        async with health.serve(settings.health_listen, several.not_ready, several.exposition) as address:
            if listening is not None:
                said.add_done_callback(lambda _: listening(Addresses(sandboxes, isolates, address)))
            await several.run()


async def _serve(settings: Settings, listening: Callable[[Addresses], None] | None) -> None:
    documentation.configure(settings.docs_url)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    readiness = _Readiness()
    async with AsyncExitStack() as stack:
        health_address = await stack.enter_async_context(health.serve(settings.health_listen, readiness))
        kube = await stack.enter_async_context(KubeClient(KubeConfig.load(os.environ)))
        ledger = await stack.enter_async_context(
            LedgerClient(settings.ledger_url, TokenFile(settings.ledger_token_file, time.monotonic))
        )
        world = WatchedWorld(kube, GatewayAccount(settings.namespace, settings.service_account))
        # Should one of these fail, the rest is cancelled and the error raised: the process ends and is started anew.
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(world.run())
            async with AsyncExitStack() as serving:
                people_listener = None
                if not settings.worker:  # sessions have one process that answers for all that this pod opened
                    people_listener = await serving.enter_async_context(
                        people.serve(_of_people(settings), kube, ledger, lambda: world.facts)
                    )
                if settings.worker is not None:
                    # A worker that is started anew gets its share of connections at once: only when it can serve them.
                    while world.missing is not None:
                        await world.changed(1.0)
                plane = await serving.enter_async_context(
                    data_plane.serve(_of_data_plane(settings), ledger, world, kube)
                )
                readiness.reasons[:] = [lambda: world.missing]
                if people_listener is not None:
                    people_listener.subscribe(plane.session_opened)
                    readiness.reasons.append(people_listener.not_ready)
                telling = tasks.create_task(HealthReports(kube, world.routes, plane.backends.out).run())
                heard = asyncio.ensure_future(_tell(settings, plane, health_address, listening, stop))
                _log.info("serving")
                await stop.wait()
                heard.cancel()
                _log.info("stopping")
                readiness.reasons[:] = [lambda: "stopping"]
                plane.close_after_answers()
                await asyncio.sleep(settings.lame_duck_ms / 1000)
                if people_listener is not None:
                    await people_listener.drain(settings.drain_ms / 1000)
                telling.cancel()
            watching.cancel()


async def _tell(
    settings: Settings,
    plane: data_plane.DataPlane,
    health_address: str,
    listening: Callable[[Addresses], None] | None,
    stop: asyncio.Event,
) -> None:
    """Says where this process listens to whoever started it."""
    if settings.worker is not None:
        await workers.say_where(health_address, stop)
    elif listening is not None:
        listening(Addresses(plane.sandbox_address, plane.isolate_address, health_address))


def _of_people(settings: Settings) -> people.PeopleSettings:
    return people.PeopleSettings(
        settings.people_listen, settings.tls_dir, settings.signer_dir, settings.namespace, settings.pod_name
    )


def _of_data_plane(settings: Settings) -> data_plane.DataPlaneSettings:
    return data_plane.DataPlaneSettings(
        sandbox_listen=settings.sandbox_listen,
        isolate_listen=settings.isolate_listen,
        session_signer_pem=(settings.trust_dir / "session-signer.pem").read_bytes(),
        hold_expires_in_ms=settings.hold_expires_in_ms,
        silence_s=settings.silence_ms / 1000,
        drain_s=settings.drain_ms / 1000,
        shared=settings.worker is not None,
        hold_ahead=settings.hold_ahead,
    )
