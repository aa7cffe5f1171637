"""Keeps a shard up for new sessions: starts the next one as soon as the present one dies or has worn out."""

import asyncio
import logging
from collections.abc import Callable

from aiohttp import web

from ambit.isolates.settings import Settings
from ambit.isolates.shard import Shard, ShardStartFailed
from ambit.telemetry import metrics

log = logging.getLogger(__name__)

TAKE_DEADLINE_S = 5.0
RETRY_MIN_S, RETRY_MAX_S = 0.1, 5.0


class NoShard(Exception):
    """No shard came up in time."""


class Shards:
    """The present shard, and those that still run their last sessions."""

    def __init__(self, settings: Settings, outside: Callable[[Shard], web.Application]) -> None:
        self._settings = settings
        self._outside = outside
        self._present: Shard | None = None
        self._up = asyncio.Event()
        self._alive: set[Shard] = set()

    @property
    def ready(self) -> bool:
        return self._up.is_set()

    async def run(self) -> None:
        """Until cancelled; then nothing is left of any shard."""
        number, cause, retry_s = 0, "First", RETRY_MIN_S
        try:
            while True:
                number += 1
                shard = Shard(number, self._settings, self._outside)
                self._alive = {alive for alive in self._alive if not alive.dead.is_set()} | {shard}
                try:
                    await shard.start()
                except ShardStartFailed as error:
                    self._alive.remove(shard)
                    log.error("a shard did not start", extra={"fields": {"shard": number, "error": str(error)}})
                    await asyncio.sleep(retry_s)
                    retry_s = min(retry_s * 2, RETRY_MAX_S)
                    continue
                retry_s = RETRY_MIN_S
                metrics.ISOLATE_SHARD_STARTS.labels(cause).inc()
                self._present = shard
                self._up.set()
                await shard.retired.wait()
                self._up.clear()
                self._present = None
                cause = str(shard.end)
        finally:
            self._up.clear()
            await asyncio.gather(*(shard.stop() for shard in self._alive))

    async def take(self) -> Shard:
        """The shard for a new session, with the session counted in. Raises NoShard."""
        try:
            async with asyncio.timeout(TAKE_DEADLINE_S):
                while self._present is None or self._present.retired.is_set():
                    await self._up.wait()
                    await asyncio.sleep(0)  # lets run() notice that the present shard has retired
        except TimeoutError as error:
            raise NoShard(f"no shard came up within {TAKE_DEADLINE_S:.0f} s") from error
        self._present.admit()
        return self._present
