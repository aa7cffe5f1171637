"""The ledger's process."""

import asyncio
import logging
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from aiohttp import web
from prometheus_client import REGISTRY

from ambit.ledger.auth import Authenticator, Components
from ambit.ledger.boot import BootNotes, boot_clock_ms, boot_id
from ambit.ledger.dispatch import Dispatcher
from ambit.ledger.exposition import TreeCollector
from ambit.ledger.journal import JournalError, Source, Store
from ambit.ledger.journal.shared import SharedSource
from ambit.ledger.journal.sources import source_of
from ambit.ledger.journal.threaded import ThreadedStore
from ambit.ledger.partitions import main as several_writers
from ambit.ledger.service import Service
from ambit.ledger.settings import Settings
from ambit.ledger.snapshot_process import SnapshotProcess
from ambit.ledger.term import Committed
from ambit.ledger.terms import Terms
from ambit.ledger.timekeeping import Timekeeper, Witness
from ambit.ledger.tree import Tree
from ambit.ledger.writer import COMPACT_AFTER_CHANGES, Writer
from ambit.telemetry import health

SWITCH_S = 0.0001
"""How long the interpreter lets one thread run while another waits for it. A commit is a thread's, which needs the
interpreter again after its sync: with Python's own 5 ms, each commit of a busy ledger took 6 ms; with this it takes
0.8 ms, where the disk takes 0.5.
"""
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
    witness: Witness | None = None,
    compact_after_changes: int = COMPACT_AFTER_CHANGES,
    listening: Callable[[str, str], None] | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT. Raises JournalError where the embedded journal fails: the process has to end.

    `witness` is asked where the clock is doubted, unless the store has a clock of its own.
    `listening` is told the addresses for operations and for health, once both are served.
    """
    sys.setswitchinterval(SWITCH_S)
    if source is not None:
        opened = source
    elif settings.partitions > 1:
        opened = source_of(f"{settings.store}#0", settings.password_file)  # for its clock
    else:
        opened = source_of(settings.store, settings.password_file)

    def make_writer(store: Store, committed: Committed) -> Writer:
        return Writer(store, committed, _timekeeper(opened, now_ms, witness), compact_after_changes)

    if settings.partitions > 1:
        await several_writers.run(settings, authenticator, make_writer, listening)
        return

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
        collector = TreeCollector(lambda: _trees_now(terms.writer))
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


def _timekeeper(source: Source, now_ms: Callable[[], int], witness: Witness | None) -> Timekeeper:
    if not isinstance(source, SharedSource):
        return Timekeeper(now_ms, boot_clock_ms, witness, BootNotes(Path(source.address), boot_id()))

    async def clock_of_the_store() -> int | None:
        try:
            return await asyncio.to_thread(source.clock_ms)
        except JournalError:
            return None  # it is asked again, and where it stays away, the writer ends

    return Timekeeper(now_ms, boot_clock_ms, clock_of_the_store)


def _trees_now(writer: Writer | None) -> Sequence[tuple[Tree, int]]:
    return () if writer is None else ((writer.tree, writer.now_ms()),)
