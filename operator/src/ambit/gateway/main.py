"""The gateway's process: all listeners, what they watch, and a clean stop."""

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from ambit.gateway import data_plane
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
    """Serves until SIGTERM or SIGINT; `listening` is told the addresses once they are served.

    Raises OSError, ValueError and ConfigError where keys, addresses or the apiserver's configuration cannot be used.
    """
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
            async with (
                people.serve(
                    people.PeopleSettings(
                        settings.people_listen,
                        settings.tls_dir,
                        settings.signer_dir,
                        settings.namespace,
                        settings.pod_name,
                    ),
                    kube,
                    ledger,
                    lambda: world.facts,
                ) as people_listener,
                data_plane.serve(_of_data_plane(settings), ledger, world, kube) as plane,
            ):
                people_listener.subscribe(plane.session_opened)
                readiness.reasons[:] = [lambda: world.missing, people_listener.not_ready]
                if listening is not None:
                    listening(Addresses(plane.sandbox_address, plane.isolate_address, health_address))
                _log.info("serving")
                await stop.wait()
                _log.info("stopping")
                readiness.reasons[:] = [lambda: "stopping"]
                await people_listener.drain(settings.drain_ms / 1000)
            watching.cancel()


def _of_data_plane(settings: Settings) -> data_plane.DataPlaneSettings:
    return data_plane.DataPlaneSettings(
        sandbox_listen=settings.sandbox_listen,
        isolate_listen=settings.isolate_listen,
        session_signer_pem=(settings.trust_dir / "session-signer.pem").read_bytes(),
        hold_expires_in_ms=settings.hold_expires_in_ms,
        silence_s=settings.silence_ms / 1000,
        drain_s=settings.drain_ms / 1000,
        hold_ahead=settings.hold_ahead,
    )
