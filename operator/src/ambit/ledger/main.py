"""The ledger's process."""

import asyncio
import logging
import signal
import time
from collections.abc import Callable

from aiohttp import web
from prometheus_client import REGISTRY

from ambit.ledger.auth import Authenticator, Components
from ambit.ledger.dispatch import Dispatcher
from ambit.ledger.exposition import TreeCollector
from ambit.ledger.journal import Source, Store
from ambit.ledger.journal.sources import source_of
from ambit.ledger.journal.threaded import ThreadedStore
from ambit.ledger.partitions import main as several_writers
from ambit.ledger.service import Service
from ambit.ledger.settings import Settings
from ambit.ledger.snapshot_process import SnapshotProcess
from ambit.ledger.term import Committed
from ambit.ledger.terms import Terms
from ambit.ledger.writer import COMPACT_AFTER_CHANGES, Writer
from ambit.telemetry import health

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
    """Serves until SIGTERM or SIGINT. Raises JournalError where the embedded journal fails: the process has to end.

    `listening` is told the addresses for operations and for health, once both are served.
    """

    def make_writer(store: Store, committed: Committed) -> Writer:
        return Writer(store, committed, now_ms, compact_after_changes)

    if settings.partitions > 1:
        await several_writers.run(settings, authenticator, make_writer, now_ms, listening)
        return
    opened = source_of(settings.store, settings.password_file) if source is None else source

    def make_store() -> Store:
        return ThreadedStore(opened, SnapshotProcess(opened.address, settings.password_file))

    dispatcher = Dispatcher()
    terms = Terms(opened, make_store, make_writer, dispatcher)
    async with health.serve(settings.health_listen, terms.waiting_for) as health_address:
        components = Components(authenticator, settings.components, time.monotonic)
        service = Service(dispatcher, lambda: terms.events, components, time.monotonic)
        runner = web.AppRunner(service.app(), access_log=None, shutdown_timeout=5.0)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, terms.stop)
        collector = TreeCollector(lambda: () if terms.writer is None else (terms.writer.tree,), now_ms)
        REGISTRY.register(collector)
        running = asyncio.create_task(terms.run(), name="ledger terms")
        answering = asyncio.create_task(terms.first.wait())
        try:
            await asyncio.wait((running, answering), return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                await running
                return
            await runner.setup()
            host, port = health.split_address(settings.listen)
            await web.TCPSite(runner, host, port).start()
            bound_host, bound_port = runner.addresses[0][:2]
            address = f"{bound_host}:{bound_port}"
            log.info("serving", extra={"fields": {"listen": address}})
            if listening is not None:
                listening(address, health_address)
            await running
        finally:
            answering.cancel()
            running.cancel()
            await runner.cleanup()
            REGISTRY.unregister(collector)
