"""The sessions that this gateway runs; looking at sessions, and killing them."""

import asyncio
import logging
from typing import Any, Final

from ambit.api import names
from ambit.gateway.models.wire_format import RefusedCall
from ambit.gateway.refusals import ledger_away, not_yet
from ambit.gateway.sessions.accounts import final_usage
from ambit.gateway.sessions.hosts import HostClient, HostFailed
from ambit.gateway.sessions.opening import Conducted, Opener, Request
from ambit.gateway.sessions.refusals import refused
from ambit.gateway.sessions.run import Ending, Run
from ambit.gateway.sessions.sandboxes import SandboxView
from ambit.gateway.sessions.watches import Watches
from ambit.kube import ApiError, Identity, KubeClient, NotFound
from ambit.kube.resources import NAMESPACES, PODS
from ambit.ledger import wire
from ambit.ledger.client import AccountUnknown, LedgerClient, LedgerUnavailable
from ambit.telemetry import metrics
from ambit.telemetry.reasons import Refusal, SessionEnd

KILL_PATIENCE_S: Final = 30.0
KILL_POLL_S: Final = 0.1

_log = logging.getLogger(__name__)


class SessionService:
    """Everything that the endpoints do, once the caller is known and allowed to."""

    def __init__(
        self, opener: Opener, kube: KubeClient, ledger: LedgerClient, hosts: HostClient, watches: Watches
    ) -> None:
        self._opener = opener
        self._kube = kube
        self._ledger = ledger
        self._hosts = hosts
        self._watches = watches
        self.runs: dict[str, tuple[Run, asyncio.Task[Ending]]] = {}
        """By account path: the sessions whose callers are connected to this gateway."""
        self._resynchronising: asyncio.Task[None] | None = None

    # -- running -------------------------------------------------------------
    async def open(self, request: Request, identity: Identity) -> tuple[Run, asyncio.Task[Ending]]:
        """Opens a session; it runs when this returns. Raises RefusedCall."""
        run, conducted = await self._opener.open(request, identity)
        task = asyncio.create_task(self._conduct(run, conducted), name=run.path)
        self.runs[run.path] = (run, task)
        metrics.SESSIONS_OPENED.labels(run.environment).inc()
        return run, task

    async def _conduct(self, run: Run, conducted: Conducted) -> Ending:
        running = metrics.SESSIONS_RUNNING.labels(run.environment)
        running.inc()
        try:
            ending = await conducted()
        finally:
            running.dec()
            del self.runs[run.path]
        metrics.SESSION_ENDS.labels(run.environment, ending.reason.value).inc()
        if ending.start_ms is not None:
            metrics.SESSION_START_SECONDS.labels(run.environment).observe(ending.start_ms / 1000)
        _log.info(
            "session ended",
            extra={"fields": {"session": run.path, "reason": ending.reason.value, "detail": ending.message}},
        )
        return ending

    # -- looking -----------------------------------------------------------
    async def list(self, namespace: str) -> tuple[wire.Usage, ...]:
        """All sessions of a namespace that the ledger remembers. Raises RefusedCall."""
        try:
            found = (await self._ledger.sessions(wire.ListSessions(under=namespace))).sessions
        except LedgerUnavailable as error:
            raise ledger_away() from error
        if not found:
            await self._expect_namespace(namespace)
        return found

    async def _expect_namespace(self, namespace: str) -> None:
        """Raises RefusedCall where there is no such namespace: a slip of the pen is no empty list."""
        try:
            await self._kube.get(NAMESPACES, namespace)
        except NotFound as error:
            raise refused(
                Refusal.NOT_FOUND, f"there is no namespace {namespace}: `kubectl get namespaces` lists them"
            ) from error
        except ApiError as error:
            raise not_yet(f"namespace {namespace} cannot be looked for: {error.message}") from error

    async def find(self, namespace: str, session: str) -> wire.Usage | None:
        """One session; None where there is none. Raises RefusedCall."""
        try:
            return await self._ledger.usage(wire.GetUsage(path=names.session_path(namespace, session)))
        except AccountUnknown:
            return None
        except LedgerUnavailable as error:
            raise ledger_away() from error

    # -- killing -----------------------------------------------------------
    async def kill(self, session: wire.Usage, by: str) -> wire.Usage:
        """Kills a session; when this returns, nothing of it is running. Raises RefusedCall."""
        _, namespace, name = names.AccountName.parse(session.path)
        try:
            await self._ledger.kill(wire.Kill(path=session.path, reason="killed", by=by))
        except LedgerUnavailable as error:
            raise ledger_away() from error
        if session.attributes.get(names.ENVIRONMENT_ATTRIBUTE) == names.ISOLATE:
            await self._end_isolate(session, namespace, name)
        else:
            await self._end_container(namespace, name)
        await final_usage(self._ledger, session.path)
        return await self.find(namespace, name) or session

    async def _end_isolate(self, session: wire.Usage, namespace: str, name: str) -> None:
        host = self._watches.host(session.attributes.get(names.HOST_POD_ATTRIBUTE, ""))
        if host is None:
            return  # the pod is gone, and with it all that ran in it
        try:
            await self._hosts.end(host, namespace, name)
        except HostFailed as failure:
            raise not_yet(
                f"the session is killed and can spend nothing more, but its host did not confirm: {failure.message}"
            ) from failure

    async def _end_container(self, namespace: str, name: str) -> None:
        """Waits until the operator has ended the Pod."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + KILL_PATIENCE_S
        while await self._container_runs(namespace, name):
            if loop.time() >= deadline_s:
                raise not_yet(
                    "the session is killed and can spend nothing more, but its Pod has not ended yet: see `kubectl get"
                    f" pods -n {namespace} -l {names.SESSION_LABEL}={name}`"
                )
            await asyncio.sleep(KILL_POLL_S)

    async def _container_runs(self, namespace: str, session: str) -> bool:
        try:
            pods = await self._kube.list(PODS, namespace, label_selector=f"{names.SESSION_LABEL}={session}")
        except ApiError as error:
            raise not_yet(f"the session is killed, but its Pod cannot be looked for: {error.message}") from error
        return any(_runs(pod) for pod in pods)

    async def kill_orphan(self, orphan: SandboxView) -> None:
        """Ends a container session that nobody waits for. Raises LedgerUnavailable, LedgerError."""
        path = names.session_path(orphan.metadata.namespace, orphan.metadata.name)
        message = "the gateway that its caller was connected to is gone"
        await self._ledger.kill(wire.Kill(path=path, reason=message, by=names.GATEWAY))

    # -- what the ledger says ------------------------------------------------
    def on_event(self, event: wire.AnyEvent) -> None:
        """Ends the sessions of this gateway that the ledger has ended."""
        if isinstance(event, wire.Resynchronised):
            self._resynchronising = asyncio.create_task(self.resynchronise())
        elif isinstance(event, wire.SessionKilled):
            self._stop(event.path, SessionEnd.KILLED, event.reason)
        elif isinstance(event, wire.SessionEnded):
            self._stop(event.path, event.reason, f"the ledger ended it: {event.reason}")

    def _stop(self, path: str, reason: SessionEnd, message: str) -> None:
        ours = self.runs.get(path)
        if ours is not None:
            ours[0].stop(reason, message)

    async def resynchronise(self) -> None:
        """Looks at each of our sessions again, since events may have been missed."""
        for path in tuple(self.runs):
            _, namespace, name = names.AccountName.parse(path)
            try:
                usage = await self.find(namespace, name)
            except RefusedCall:
                return  # the ledger is away; it sends Resynchronised again when it is back
            if usage is not None and usage.state is wire.State.ENDED:
                self._stop(path, usage.closed_reason or SessionEnd.KILLED, usage.closed_message)


def _runs(pod: dict[str, Any]) -> bool:
    """Whether a Pod's containers may still run."""
    status: dict[str, Any] = pod.get("status") or {}
    return status.get("phase") not in ("Succeeded", "Failed")
