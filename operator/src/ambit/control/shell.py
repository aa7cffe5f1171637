"""kopf as the process shell: it watches our five kinds, and starts and stops the rest with itself.

Only `on.event` is used: it writes nothing (no annotation, no finalizer), where kopf's other handlers patch each object
at each step. What kopf does not do is done by `relist`: after a 410 it never reports what vanished in the gap, so every
kind is listed and compared whenever kopf has listed anew, and every ten minutes.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final, NoReturn

import aiohttp
import kopf
import msgspec

from ambit.api.names import GROUP, VERSION
from ambit.control.world import Kind, World
from ambit.kube import ApiError, KubeClient, KubeConfig
from ambit.telemetry import metrics

RELIST_S: Final = 600.0
RETRY_S: Final = 2.0
LISTED_AGAIN_S: Final = 1.0
"""So long after kopf's own list ours is made: one for all the objects that it reported."""

_log = logging.getLogger(__name__)


class _NoDiffBase(kopf.DiffBaseStorage):
    """Keeps nothing: kopf's copy of each object in its annotations would double it, and is used by nobody."""

    def build(self, *, body: Any, extra_fields: Any = None) -> Any:
        return {}

    def fetch(self, *, body: Any) -> Any:
        return None

    def store(self, *, body: Any, patch: Any, essence: Any) -> None:
        return None


class _NoProgress(kopf.ProgressStorage):
    """Keeps nothing: event handlers have no progress."""

    def fetch(self, *, key: Any, body: Any) -> Any:
        return None

    def store(self, *, key: Any, record: Any, body: Any, patch: Any) -> None:
        return None

    def purge(self, *, key: Any, body: Any, patch: Any) -> None:
        return None

    def touch(self, *, body: Any, patch: Any, value: Any) -> None:
        return None

    def clear(self, *, essence: Any) -> Any:
        return essence


class Relister:
    """Lists our kinds and compares, so that nothing that vanished stays known."""

    def __init__(self, world: World, client: KubeClient) -> None:
        self._client = client
        self._wanted = {kind.controller: asyncio.Event() for kind in world.kinds}
        self._kinds = world.kinds

    def listed_anew(self, kind: Kind) -> None:
        """kopf has listed this kind, perhaps after a gap."""
        self._wanted[kind.controller].set()

    async def once(self) -> None:
        """Waits until every kind has been listed: the start."""
        await asyncio.gather(*(self._until_listed(kind) for kind in self._kinds))

    async def run(self) -> NoReturn:
        """Lists again until cancelled."""
        async with asyncio.TaskGroup() as group:
            for kind in self._kinds:
                group.create_task(self._keep(kind))
        raise AssertionError("listing never ends")

    async def _keep(self, kind: Kind) -> NoReturn:
        wanted = self._wanted[kind.controller]
        while True:
            try:
                async with asyncio.timeout(RELIST_S * random.uniform(0.8, 1.2)):
                    await wanted.wait()
                    await asyncio.sleep(LISTED_AGAIN_S)
            except TimeoutError:
                _log.debug("listing %s as every ten minutes", kind.resource.plural)
            wanted.clear()
            await self._until_listed(kind)

    async def _until_listed(self, kind: Kind) -> None:
        while True:
            try:
                objects, version = await _listed(self._client, kind)
            except ApiError as refused:
                _log.warning("%s cannot be listed: %s", kind.resource.plural, refused)
                await asyncio.sleep(RETRY_S)
                continue
            vanished = kind.store.relisted(objects, version)
            metrics.WATCH_VANISHED.labels(kind.resource.plural).inc(vanished)
            return


async def _listed(client: KubeClient, kind: Kind) -> tuple[list[dict[str, Any]], str]:
    raw, version = await client.list_raw(kind.resource)
    return [msgspec.json.decode(item) for item in raw], version


async def run(
    config: KubeConfig,
    world: World,
    relister: Relister,
    *,
    start: Callable[[], Awaitable[None]],
    stop: Callable[[], Awaitable[None]],
) -> None:
    """Watches until SIGTERM or SIGINT. `start` runs before the first watch, `stop` after the last."""
    registry = kopf.OperatorRegistry()

    @kopf.on.startup(registry=registry)
    async def begin(settings: kopf.OperatorSettings, **_: Any) -> None:  # pyright: ignore[reportUnusedFunction]
        _configure(settings)
        await start()

    @kopf.on.cleanup(registry=registry)
    async def end(**_: Any) -> None:  # pyright: ignore[reportUnusedFunction]
        await stop()

    @kopf.on.login(registry=registry)
    async def log_in(**_: Any) -> kopf.AiohttpSession:  # pyright: ignore[reportUnusedFunction]
        return connection(config)

    for kind in world.kinds:
        _watch(registry, kind, relister)
    identity: Any = "ambit-operator"  # else kopf asks for the user's name, which a Pod's user has not
    await kopf.operator(registry=registry, clusterwide=True, standalone=True, identity=identity)


def _watch(registry: kopf.OperatorRegistry, kind: Kind, relister: Relister) -> None:
    @kopf.on.event(GROUP, VERSION, kind.resource.plural, registry=registry, id=kind.controller)
    async def changed(event: Any, **_: Any) -> None:  # pyright: ignore[reportUnusedFunction]
        if event["type"] is None:
            relister.listed_anew(kind)
        kind.store.observe(event["type"], event["object"])


def _configure(settings: kopf.OperatorSettings) -> None:
    logging.getLogger("kopf").setLevel(logging.WARNING)  # it logs each event of each object
    settings.persistence.diffbase_storage = _NoDiffBase()
    settings.persistence.progress_storage = _NoProgress()
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 310
    settings.watching.connect_timeout = 30
    settings.networking.error_backoffs = [0.1, 0.5, 1, 2, 5]


def connection(config: KubeConfig) -> kopf.AiohttpSession:
    """Our way to the apiserver, for kopf: the same address, authority and token, asked for at each request."""

    async def authorise(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        if config.token is not None:
            request.headers["Authorization"] = f"Bearer {config.token()}"
        return await handler(request)

    connector = aiohttp.TCPConnector(limit=0, ssl=config.tls if config.tls is not None else True)
    session = aiohttp.ClientSession(connector=connector, middlewares=(authorise,))
    return kopf.AiohttpSession(server=config.server, aiohttp_session=session)
