"""A session in a container: the operator runs it, the gateway shows it to its caller.

The runtime, the Pod and the session's end are the operator's (it owns the Pod); here the Sandbox's status is watched,
the container's log is the output, and a caller who goes away has the session killed.
"""

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Final

from ambit.api.names import GATEWAY, SANDBOX_CONTAINER
from ambit.gateway.sessions.accounts import final_usage
from ambit.gateway.sessions.run import Ending, Run, Stop
from ambit.gateway.sessions.sandboxes import SandboxView
from ambit.kube import ApiError, KubeClient, ListWatch, NotFound
from ambit.kube.resources import SANDBOXES
from ambit.ledger import wire
from ambit.ledger.client import LedgerClient, LedgerError, LedgerUnavailable
from ambit.telemetry.reasons import SessionEnd

LOOK_AGAIN_S: Final = 10.0
OPERATOR_PATIENCE_S: Final = 30.0
"""How long the operator may take to end a killed session before its Sandbox is deleted as well."""
LOG_PATIENCE_S: Final = 5.0
"""How long the log may be silent after the end before it is taken to be over."""

_log = logging.getLogger(__name__)


@dataclass
class _Following:
    task: "asyncio.Task[None]"
    progress: asyncio.Event = field(default_factory=asyncio.Event)


class ContainerConductor:
    """Carries one session from its Sandbox's creation to its end."""

    def __init__(
        self, run: Run, sandbox_uid: str, sandboxes: ListWatch[SandboxView], kube: KubeClient, ledger: LedgerClient
    ) -> None:
        self._run = run
        self._uid = sandbox_uid
        self._sandboxes = sandboxes
        self._kube = kube
        self._ledger = ledger
        self._changed = asyncio.Event()
        self._start_ms: int | None = None
        self._following: _Following | None = None

    async def conduct(self) -> Ending:
        """Runs the session to its end. Never raises for what may happen."""
        key = (self._run.namespace, self._run.id)
        forget = self._sandboxes.subscribe(lambda change: self._changed.set() if change.key == key else None)
        stopping = asyncio.create_task(self._run.stopped())
        try:
            view = await self._until_finished(stopping)
            await self._rest_of_output()
        finally:
            forget()
            stopping.cancel()
            if self._following is not None:
                self._following.task.cancel()
                await asyncio.gather(self._following.task, return_exceptions=True)
        return await self._ending(view, stopping)

    async def _until_finished(self, stopping: "asyncio.Task[Stop]") -> SandboxView | None:
        """The Sandbox as it ended; None where it was deleted."""
        loop = asyncio.get_running_loop()
        delete_at_s: float | None = None
        seen = False
        while True:
            self._changed.clear()
            view = self._present()
            if view is None and (seen or await self._is_gone()):
                return None
            if view is not None:
                seen = True
                self._notice_start(view)
                if view.finished:
                    return view
            if stopping.done() and delete_at_s is None:
                delete_at_s = loop.time() + (OPERATOR_PATIENCE_S if await self._kill(stopping.result()) else 0.0)
            if delete_at_s is not None and loop.time() >= delete_at_s:
                await self._delete()
                delete_at_s = loop.time() + OPERATOR_PATIENCE_S
            changing = asyncio.create_task(self._changed.wait())
            waited_for: set[asyncio.Task[Stop] | asyncio.Task[bool]] = {changing}
            if delete_at_s is None:
                waited_for.add(stopping)
            timeout_s = LOOK_AGAIN_S if delete_at_s is None else min(LOOK_AGAIN_S, delete_at_s - loop.time())
            await asyncio.wait(waited_for, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            changing.cancel()

    def _present(self) -> SandboxView | None:
        view = self._sandboxes.items.get((self._run.namespace, self._run.id))
        return view if view is not None and view.metadata.uid == self._uid else None

    async def _is_gone(self) -> bool:
        """Whether a Sandbox that the cache has not shown yet is gone already."""
        try:
            found = await self._kube.get(SANDBOXES, self._run.id, self._run.namespace)
        except NotFound:
            return True
        except ApiError:
            return False
        return found["metadata"]["uid"] != self._uid

    def _notice_start(self, view: SandboxView) -> None:
        if view.status.started_at is None or view.status.pod_name is None or self._following is not None:
            return
        self._start_ms = self._run.since_request_ms()
        progress = asyncio.Event()
        self._following = _Following(asyncio.create_task(self._follow(view.status.pod_name, progress)), progress)

    async def _follow(self, pod: str, progress: asyncio.Event) -> None:
        try:
            async for line in self._kube.follow_log(self._run.namespace, pod, SANDBOX_CONTAINER):
                await self._run.write(line)
                progress.set()
        except ApiError as error:
            _log.warning("the log of %s cannot be followed: %s", self._run.path, error.message)

    async def _rest_of_output(self) -> None:
        """Waits for the log's end, for as long as something of it comes."""
        if self._following is None:
            return
        following = self._following
        while not following.task.done():
            following.progress.clear()
            moving = asyncio.create_task(following.progress.wait())
            done, _ = await asyncio.wait(
                {following.task, moving}, timeout=LOG_PATIENCE_S, return_when=asyncio.FIRST_COMPLETED
            )
            moving.cancel()
            if not done:
                _log.warning("the log of %s did not come to an end", self._run.path)
                return

    async def _kill(self, stop: Stop) -> bool:
        """Kills the session in the ledger, which makes the operator end it; False where the ledger is away."""
        try:
            await self._ledger.kill(wire.Kill(path=self._run.path, reason=stop.message, by=GATEWAY))
        except (LedgerUnavailable, LedgerError) as error:
            _log.warning("session %s could not be killed: %s", self._run.path, error)
            return False
        return True

    async def _delete(self) -> None:
        try:
            await self._kube.delete(SANDBOXES, self._run.id, self._run.namespace, uid=self._uid)
        except NotFound:
            return
        except ApiError as error:
            _log.warning("Sandbox %s/%s could not be deleted: %s", self._run.namespace, self._run.id, error.message)

    async def _ending(self, view: SandboxView | None, stopping: "asyncio.Task[Stop]") -> Ending:
        if view is None or view.status.reason is None:
            stopped = stopping.done() and not stopping.cancelled()
            stop = stopping.result() if stopped else Stop(SessionEnd.KILLED, "its Sandbox was deleted")
            await self._kill(stop)  # the operator does so before it lets the Sandbox go; should it not, we have
            usage = await final_usage(self._ledger, self._run.path)
            return Ending(SessionEnd.KILLED, stop.message, self._start_ms, usage=usage)
        usage = await final_usage(self._ledger, self._run.path)
        return Ending(
            reason=_session_end(view.status.reason),
            message=view.status.message or "",
            start_ms=self._start_ms,
            exit_code=view.status.exit_code,
            usage=usage,
        )


def _session_end(reason: str) -> SessionEnd:
    try:
        return SessionEnd(reason)
    except ValueError:
        # An operator of a newer version may know more reasons than this gateway.
        return SessionEnd.FAILED
