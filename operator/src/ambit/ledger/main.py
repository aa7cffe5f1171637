"""The ledger's process."""

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Iterable

from aiohttp import web
from prometheus_client import REGISTRY

from ambit.ledger import changes
from ambit.ledger.auth import Authenticator, Components
from ambit.ledger.dispatch import Dispatcher
from ambit.ledger.events import Events
from ambit.ledger.exposition import TreeCollector
from ambit.ledger.journal import Source
from ambit.ledger.journal.sqlite import SqliteSource
from ambit.ledger.journal.threaded import ThreadedStore
from ambit.ledger.service import Service
from ambit.ledger.settings import Settings
from ambit.ledger.snapshot_process import SnapshotProcess
from ambit.ledger.writer import COMPACT_AFTER_CHANGES, Writer
from ambit.telemetry import health, metrics

log = logging.getLogger(__name__)


def wall_clock_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


async def run(
    settings: Settings,
    authenticator: Authenticator,
    *,
    source: Source | None = None,
    now_ms: Callable[[], int] = wall_clock_ms,
    compact_after_changes: int = COMPACT_AFTER_CHANGES,
    listening: Callable[[str, str], None] | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT. Raises JournalError where the journal fails: the process has to end then.

    `listening` is told the addresses for operations and for health, once both are served.
    """
    waiting_for: str | None = "the journal's replay"
    async with health.serve(settings.health_listen, lambda: waiting_for) as health_address:
        if source is None:
            settings.data.mkdir(parents=True, exist_ok=True)
            source = SqliteSource(settings.data)
        events: Events | None = None

        def committed(batch: Iterable[changes.AnyChange]) -> None:
            if events is not None:
                events.publish(batch)
            _count(batch)

        store = ThreadedStore(source, SnapshotProcess(source.address))
        writer = Writer(store, committed, now_ms, compact_after_changes)
        await writer.recover()
        events = Events(writer.epoch)
        collector = TreeCollector(writer.tree, now_ms)
        components = Components(authenticator, settings.components, time.monotonic)
        service = Service(Dispatcher(writer), lambda: events, components, time.monotonic)
        runner = web.AppRunner(service.app(), access_log=None, shutdown_timeout=5.0)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, writer.stop)
        REGISTRY.register(collector)
        writing = asyncio.create_task(writer.run())
        try:
            await runner.setup()
            host, port = health.split_address(settings.listen)
            await web.TCPSite(runner, host, port).start()
            bound_host, bound_port = runner.addresses[0][:2]
            address = f"{bound_host}:{bound_port}"
            fields = {"listen": address, "epoch": writer.epoch, "accounts": len(writer.tree.state.accounts)}
            log.info("serving", extra={"fields": fields})
            waiting_for = None
            if listening is not None:
                listening(address, health_address)
            await writing
        finally:
            waiting_for = "its end"
            writing.cancel()
            events.close()
            await runner.cleanup()
            REGISTRY.unregister(collector)


def _count(batch: Iterable[changes.AnyChange]) -> None:
    for change in batch:
        if isinstance(change, changes.HoldExpired):
            metrics.LEDGER_EXPIRED_HOLDS.inc()
