"""Workers over a queue: take a key, reconcile it, and look again when the reconciler says so.

A failure of the apiserver or the ledger lets the key rest for its back-off; so does a defect of a reconciler, which is
logged with its trace and must not stop the other objects.
"""

import asyncio
import logging
from time import perf_counter
from typing import NoReturn, Protocol

from ambit.control.workqueue import WorkQueue
from ambit.kube import ApiError, Conflict, Key
from ambit.ledger.client import LedgerError, LedgerUnavailable
from ambit.telemetry import metrics, tracing
from ambit.telemetry.tracing import Attribute, SpanName

_log = logging.getLogger(__name__)


class Reconciler(Protocol):
    """Brings one object to what it should be."""

    async def reconcile(self, key: Key) -> float | None:
        """One pass; the answer is after how many seconds to look again though nothing happens, or None."""
        ...


class Controller:
    """One reconciler, its queue and its workers."""

    def __init__(self, name: str, reconciler: Reconciler, workers: int) -> None:
        self.name = name
        self._reconciler = reconciler
        self._workers = workers
        self._queue = WorkQueue[Key]()
        metrics.WORKQUEUE_DEPTH.labels(name).set_function(self._queue.__len__)

    def enqueue(self, key: Key, delay_s: float = 0.0) -> None:
        self._queue.add(key, delay_s)

    async def run(self) -> NoReturn:
        """Works until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._work())
        raise AssertionError("workers never return")

    async def _work(self) -> NoReturn:
        while True:
            key = await self._queue.get()
            try:
                await self._once(key)
            finally:
                self._queue.done(key)

    async def _once(self, key: Key) -> None:
        with tracing.span(SpanName.RECONCILE) as span:
            span.set(Attribute.CONTROLLER, self.name)
            span.set(Attribute.OBJECT, "/".join(key) if span.recording else None)
            result = await self._pass(key)
            span.set(Attribute.RESULT, result)
            if result in ("error", "defect"):
                span.fail(result)

    async def _pass(self, key: Key) -> str:
        """One pass over one object; how it ended, as the metric has it."""
        began = perf_counter()
        result = "success"
        try:
            again_s = await self._reconciler.reconcile(key)
        except Conflict as stale:
            # Somebody else wrote first; their change comes by the watch, and this key with it.
            result = "conflict"
            _log.debug("%s %s/%s: %s", self.name, *key, stale)
            self._queue.retry(key)
        except (ApiError, LedgerUnavailable, LedgerError) as refused:
            result = "error"
            rest_s = self._queue.retry(key)
            _log.warning("%s %s/%s: %s; again in %.1f s", self.name, *key, refused, rest_s)
        except Exception:  # noqa: BLE001 -- a defect met by one object must not stop the reconciling of all others
            result = "defect"
            rest_s = self._queue.retry(key)
            _log.exception("%s %s/%s: a defect; again in %.1f s", self.name, *key, rest_s)
        else:
            self._queue.forget_failures(key)
            if again_s is not None:
                self._queue.add(key, again_s)
        metrics.RECONCILES.labels(self.name, result).inc()
        metrics.RECONCILE_SECONDS.labels(self.name).observe(perf_counter() - began)
        return result
