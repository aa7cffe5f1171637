"""The process of a ledger among several writers."""

import asyncio
import logging
import secrets
import signal
import socket
import time
from collections.abc import Callable

from aiohttp import web
from prometheus_client import REGISTRY

from ambit.ledger.auth import Authenticator, Components
from ambit.ledger.exposition import TreeCollector
from ambit.ledger.journal import Store
from ambit.ledger.journal.shared import SharedSource
from ambit.ledger.journal.threaded import ThreadedStore
from ambit.ledger.partitions.replica import Replica
from ambit.ledger.partitions.service import PartitionedService
from ambit.ledger.settings import Settings
from ambit.ledger.snapshot_process import SnapshotProcess
from ambit.ledger.term import MakeWriter
from ambit.telemetry import health

log = logging.getLogger(__name__)


async def run(
    settings: Settings,
    authenticator: Authenticator,
    make_writer: MakeWriter,
    listening: Callable[[str, str], None] | None,
) -> None:
    """Serves until SIGTERM or SIGINT. `listening` is told the addresses for operations and for health."""
    from ambit.ledger.journal.postgres_partitions import PostgresPartitions  # it loads libpq

    host, port = health.split_address(settings.listen)
    bound = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    bound_host, bound_port = bound.getsockname()[:2]
    address = f"{bound_host}:{bound_port}"

    def make_store(source: SharedSource) -> Store:
        return ThreadedStore(source, SnapshotProcess(source.address, settings.password_file))

    source = PostgresPartitions(settings.store, settings.password_file, settings.partitions)
    url = settings.advertise or f"http://{address}"
    replica = Replica(url, source, settings.partitions, make_store, make_writer, secrets.randbits(48))
    async with health.serve(settings.health_listen, replica.waiting_for) as health_address:
        components = Components(authenticator, settings.components, time.monotonic)
        service = PartitionedService(replica, components, time.monotonic)
        runner = web.AppRunner(service.app(), access_log=None, shutdown_timeout=5.0)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, replica.stop)
        collector = TreeCollector(replica.written)
        REGISTRY.register(collector)
        try:
            await runner.setup()
            await web.SockSite(runner, bound).start()
            log.info("serving", extra={"fields": {"listen": address, "as": url}})
            if listening is not None:
                listening(address, health_address)
            await replica.run()
        finally:
            await runner.cleanup()
            REGISTRY.unregister(collector)
