"""The listener on 8443 and all that runs behind it; `main` of the gateway calls `serve`.

TLS: the certificate that the operator made, and, asked of clients but not required, a certificate of the cluster's
client authority. Both may change while we run: then a listener with the new ones takes over the port before the old
one leaves it, and connections that are open stay.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web

from ambit.gateway.ledger_events import LedgerEvents
from ambit.gateway.sessions.endpoints import Endpoints
from ambit.gateway.sessions.hosts import HostClient, Signer
from ambit.gateway.sessions.opening import Opener
from ambit.gateway.sessions.orphans import orphans
from ambit.gateway.sessions.people import People
from ambit.gateway.sessions.service import SessionService
from ambit.gateway.sessions.watches import Watches
from ambit.kube import KubeClient
from ambit.ledger.client import LedgerClient, LedgerError, LedgerUnavailable
from ambit.policy.facts import Facts
from ambit.telemetry.health import split_address
from ambit.telemetry.reasons import SessionEnd

CERTIFICATE_CHECK_S: Final = 30.0
ORPHAN_CHECK_S: Final = 2.0
SHUTDOWN_S: Final = 10.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PeopleSettings:
    """What the listener is told by the gateway's settings."""

    listen: str
    """HOST:PORT."""
    tls_dir: Path
    """`tls.crt`, `tls.key`."""
    signer_dir: Path
    """`private.pem`: signs our requests to isolate hosts."""
    control_namespace: str
    pod_name: str
    """This gateway's pod."""


class PeopleListener:
    """What `main` of the gateway sees."""

    def __init__(self, opener: Opener, service: SessionService, watches: Watches) -> None:
        self._opener = opener
        self._service = service
        self._watches = watches
        self.address = ""
        """HOST:PORT, once it listens."""

    def not_ready(self) -> str | None:
        """What is still waited for; None: it serves."""
        return self._watches.not_ready() or (None if self.address else "the listener for people")

    def subscribe(self, opened: Callable[[str, str], None]) -> None:
        """`opened` is told the account of each session that was opened, and of its parent."""
        self._opener.subscribe(opened)

    async def drain(self, patience_s: float) -> None:
        """Waits for the sessions of this gateway, and ends those that are not done within `patience_s`."""
        ending = [task for _, task in self._service.runs.values()]
        if ending:
            await asyncio.wait(ending, timeout=patience_s)
        for run, _ in tuple(self._service.runs.values()):
            run.stop(SessionEnd.KILLED, "the gateway that its caller was connected to was shut down")
        ending = [task for _, task in self._service.runs.values()]
        if ending:
            await asyncio.wait(ending, timeout=SHUTDOWN_S)


@asynccontextmanager
async def serve(
    settings: PeopleSettings, kube: KubeClient, ledger: LedgerClient, facts: Callable[[], Facts]
) -> AsyncGenerator[PeopleListener]:
    """Serves people and services while the block runs; sessions that are left at its end are ended.

    `facts` are what the gateway knows; an Agent's code is added here. Raises OSError and ValueError where keys or
    certificate cannot be read.
    """
    signer = Signer((settings.signer_dir / "private.pem").read_bytes())
    watches = Watches(kube, settings.control_namespace)
    async with HostClient(signer) as hosts:
        opener = Opener(kube, ledger, hosts, watches, facts, settings.pod_name)
        service = SessionService(opener, kube, ledger, hosts, watches)
        events = LedgerEvents(ledger)
        events.subscribe(service.on_event)
        app = Endpoints(People(kube), service).application()
        # The handler is told when its caller goes away: nothing runs without an owner.
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=SHUTDOWN_S)
        await runner.setup()
        listener = PeopleListener(opener, service, watches)
        # Should one of these fail, the block is cancelled and the error raised: the process ends and is started anew.
        async with asyncio.TaskGroup() as tasks:
            background = [
                tasks.create_task(watches.run()),
                tasks.create_task(events.run()),
                tasks.create_task(_listen(runner, settings, watches, listener)),
                tasks.create_task(_end_orphans(service, watches, settings.pod_name)),
            ]
            try:
                yield listener
            finally:
                await listener.drain(0)
                for task in background:
                    task.cancel()
                await runner.cleanup()


async def _listen(runner: web.AppRunner, settings: PeopleSettings, watches: Watches, listener: PeopleListener) -> None:
    await watches.synced()
    host, port = split_address(settings.listen)
    changed = asyncio.Event()
    watches.authority.subscribe(changed.set)
    site: web.TCPSite | None = None
    present: tuple[bytes, str] | None = None
    while True:
        wanted = ((settings.tls_dir / "tls.crt").read_bytes(), watches.authority.pem)
        if wanted != present:
            try:
                context = _tls(settings.tls_dir, watches.authority.pem)
            except (OSError, ssl.SSLError) as error:
                if site is None:
                    raise
                _log.error("the listener for people keeps its old certificates, the new cannot be used: %s", error)
            else:
                new = web.TCPSite(runner, host, port, ssl_context=context, reuse_port=True)
                await new.start()
                if site is not None:
                    await site.stop()
                site, present = new, wanted
                bound_host, port = runner.addresses[-1][:2]
                listener.address = f"{bound_host}:{port}"
        changed.clear()
        try:
            await asyncio.wait_for(changed.wait(), CERTIFICATE_CHECK_S)
        except TimeoutError:
            continue


def _tls(tls_dir: Path, client_ca_pem: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(tls_dir / "tls.crt", tls_dir / "tls.key")
    if client_ca_pem:
        context.load_verify_locations(cadata=client_ca_pem)
        context.verify_mode = ssl.CERT_OPTIONAL
        # As the apiserver: every certificate of the bundle is an anchor, be it an intermediate.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


async def _end_orphans(service: SessionService, watches: Watches, pod_name: str) -> None:
    await watches.synced()
    suspected: set[str] = set()
    while True:
        found = orphans(
            watches.sandboxes.items.values(),
            pod=pod_name,
            running={path.partition("/")[2] for path in service.runs},
            gateways=watches.gateways,
        )
        for orphan in found:
            # Twice in a row: one that was just made may be in the cache before it is among our sessions.
            if orphan.metadata.uid in suspected:
                try:
                    await service.kill_orphan(orphan)
                except (LedgerUnavailable, LedgerError) as error:
                    _log.warning("orphan %s was not ended: %s", orphan.metadata.name, error)
        suspected = {orphan.metadata.uid for orphan in found}
        await asyncio.sleep(ORPHAN_CHECK_S)
