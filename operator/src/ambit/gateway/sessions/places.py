"""A place on an isolate host for each session, taken before anything is opened for it.

The session's account names the one pod that may speak for it, so the host has to be known before the account is opened;
and a caller can only be told by a status that all hosts are full before the answer has begun. A host that is full, or
does not answer, is passed over for the next. The session never runs on two: it is opened only where its place was taken
last, and a place for which nobody comes is free again by itself.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable
from typing import Final

from ambit.api.base import ObjectKey
from ambit.gateway.refusals import not_yet
from ambit.gateway.sessions.hosts import HostClient, HostFailed
from ambit.gateway.sessions.placing import Host, in_order
from ambit.gateway.sessions.refusals import hosts_full
from ambit.telemetry import metrics
from ambit.telemetry.reasons import HostError

MOST_ASKED: Final = 5
"""Hosts for one session. The least busy are asked first: where so many of them are full, so are the others."""

_log = logging.getLogger(__name__)


class Places:
    """Takes places, and knows how many sessions of this gateway each host has."""

    def __init__(self, hosts: HostClient) -> None:
        self._hosts = hosts
        self._running: Counter[str] = Counter()

    async def take(self, pool: ObjectKey, hosts: Iterable[Host], namespace: str, session: str) -> Host:
        """A host of the pool that keeps room for the session, until `free` or `give_back`. Raises RefusedCall."""
        ready = in_order(hosts, session, self._running)
        if not ready:
            raise not_yet(
                f"SandboxPool {pool} has no host that is ready: see `kubectl get sandboxpools -n {pool.namespace}`, and"
                " try again"
            )
        failures: list[HostFailed] = []
        for host in ready[:MOST_ASKED]:
            self._running[host.uid] += 1
            try:
                await self._hosts.take_place(host, namespace, session)
            except HostFailed as failure:
                self.free(host)
                failures.append(failure)
                full = failure.reason is HostError.FULL
                metrics.ISOLATE_PLACES.labels("Full" if full else "NoAnswer").inc()
                if not full:
                    _log.warning("no place for session %s/%s: %s", namespace, session, failure.message)
            except asyncio.CancelledError:
                self.free(host)
                raise
            else:
                metrics.ISOLATE_PLACES.labels("Taken").inc()
                return host
        if any(failure.reason is HostError.FULL for failure in failures):
            raise hosts_full(pool, asked=len(failures), ready=len(ready))
        raise not_yet(f"no host of SandboxPool {pool} answers: {failures[-1].message}; try again")

    def free(self, host: Host) -> None:
        """The session is no longer there."""
        self._running[host.uid] -= 1
        if not self._running[host.uid]:
            del self._running[host.uid]

    async def give_back(self, host: Host, namespace: str, session: str) -> None:
        """The session is not opened after all."""
        self.free(host)
        try:
            await self._hosts.end(host, namespace, session)
        except HostFailed as failure:
            _log.warning("the place of %s/%s is free when its time is over: %s", namespace, session, failure.message)
