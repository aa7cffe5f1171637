"""Opening, listing and killing sessions; and the sessions that this gateway runs itself."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from ambit.api.agent import Agent
from ambit.api.base import InvalidObject, ObjectKey
from ambit.api.common import BoundsOverride
from ambit.api.environment import ContainerEnvironment
from ambit.gateway.sessions import isolate
from ambit.gateway.sessions.accounts import close_account, final_usage, limits, new_session_id, open_account
from ambit.gateway.sessions.code import Bundle, bundle, sizes
from ambit.gateway.sessions.container import ContainerConductor
from ambit.gateway.sessions.hosts import HostClient, HostFailed
from ambit.gateway.sessions.names import session_path
from ambit.gateway.sessions.placing import choose
from ambit.gateway.sessions.refusals import Refused, by_ledger, ledger_away, not_yet
from ambit.gateway.sessions.run import Ending, Run
from ambit.gateway.sessions.runtime import RuntimeHold
from ambit.gateway.sessions.sandboxes import MAX_INPUT_BYTES, SandboxView, sandbox
from ambit.gateway.sessions.watches import Watches
from ambit.kube import ApiError, Forbidden, Identity, Invalid, KubeClient, NotFound
from ambit.kube.resources import AGENTS, CONFIG_MAPS, PODS, SANDBOXES
from ambit.ledger import wire
from ambit.ledger.client import AccountUnknown, LedgerClient, LedgerUnavailable
from ambit.policy.facts import Facts
from ambit.policy.sessions import judge_agent
from ambit.policy.verdict import Denied, IsolateBinding, SessionPolicy
from ambit.telemetry import metrics
from ambit.telemetry.reasons import Denial, Refusal, SessionEnd

ISOLATE_GRACE_MS: Final = 10_000
"""An isolate session without an open hold for so long is nobody's."""
CONTAINER_GRACE_MS: Final = 120_000
"""… of a container: the operator may be restarting when its Sandbox is made."""
ISOLATE: Final = "isolate"
CONTAINER: Final = "container"
KILL_PATIENCE_S: Final = 30.0
KILL_POLL_S: Final = 0.1

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """What a caller asks for."""

    agent: ObjectKey
    input: str = ""
    bounds: BoundsOverride | None = None


@dataclass(frozen=True)
class Incarnation:
    """Which process of which pod this gateway is."""

    pod: str
    id: str

    def __str__(self) -> str:
        return f"{self.pod}/{self.id}"


class SessionService:
    """Everything that the endpoints do, once the caller is known and allowed to."""

    def __init__(
        self,
        kube: KubeClient,
        ledger: LedgerClient,
        hosts: HostClient,
        watches: Watches,
        facts: Callable[[], Facts],
        incarnation: Incarnation,
    ) -> None:
        self._kube = kube
        self._ledger = ledger
        self._hosts = hosts
        self._watches = watches
        self._facts = facts
        self._incarnation = incarnation
        self.runs: dict[str, tuple[Run, asyncio.Task[Ending]]] = {}
        """By account path: the sessions whose callers are connected to this gateway."""

    # -- opening -----------------------------------------------------------
    async def open(self, request: Request, identity: Identity) -> tuple[Run, asyncio.Task[Ending]]:
        """Opens the session; it runs when this returns. Raises Refused."""
        requested_s = asyncio.get_running_loop().time()
        agent = await self._agent(request.agent)
        modules = await self._modules(agent)
        policy = self._judge(agent, modules, request.bounds)
        session = new_session_id()
        run = Run(
            namespace=agent.key.namespace,
            id=session,
            path=session_path(agent.key.namespace, session),
            agent=agent.key.name,
            environment=CONTAINER if isinstance(policy.environment, ContainerEnvironment) else ISOLATE,
            runtime_bound_ms=policy.bounds.runtime_ms,
            requested_s=requested_s,
        )
        attributes = {"agent": str(agent.key), "environment": run.environment, "user": identity.username}
        if isinstance(policy.environment, ContainerEnvironment):
            conducted = await self._open_container(run, policy, agent, request, attributes)
        else:
            code = bundle(policy.environment.main, modules or {})
            conducted = await self._open_isolate(run, policy, policy.environment, code, request, attributes)
        task = asyncio.create_task(self._conduct(run, conducted), name=run.path)
        self.runs[run.path] = (run, task)
        metrics.SESSIONS_OPENED.labels(run.environment).inc()
        return run, task

    async def _agent(self, key: ObjectKey) -> Agent:
        """From the cache; one that was just created may not be in it yet."""
        known = self._facts().agents.get(key)
        if known is not None:
            return known
        try:
            return Agent.from_dict(await self._kube.get(AGENTS, key.name, key.namespace))
        except NotFound as error:
            raise Refused(
                Refusal.NOT_FOUND, f"there is no Agent {key}: `kubectl get agents -n {key.namespace}` lists them"
            ) from error
        except (ApiError, InvalidObject) as error:
            raise not_yet(f"Agent {key} cannot be read: {error}") from error

    async def _modules(self, agent: Agent) -> Mapping[str, str] | None:
        """The code of an isolate Agent; None where there is none."""
        environment = agent.spec.environment.isolate
        if environment is None:
            return None
        name = environment.code.config_map_ref.name
        try:
            found = await self._kube.get(CONFIG_MAPS, name, agent.key.namespace)
        except NotFound:
            return None
        except ApiError as error:
            raise not_yet(f"ConfigMap {agent.key.namespace}/{name} cannot be read: {error.message}") from error
        data: dict[str, str] = found.get("data") or {}
        return data

    def _judge(self, agent: Agent, modules: Mapping[str, str] | None, asked: BoundsOverride | None) -> SessionPolicy:
        environment = agent.spec.environment.isolate
        code: dict[ObjectKey, Mapping[str, int]] = {}
        if environment is not None and modules is not None:
            code[ObjectKey(agent.key.namespace, environment.code.config_map_ref.name)] = sizes(modules)
        facts = replace(self._facts(), code=code, pools=self._watches.pools)
        try:
            verdict = judge_agent(agent, facts, asked)
        except ValueError as error:  # an amount that was asked for cannot be counted
            raise Refused(Refusal.MALFORMED, f"bounds: {error}") from error
        if isinstance(verdict, Denied):
            first = verdict.problems[0]
            if first.reason is Denial.BOUND_ABOVE_AGENT:
                raise Refused(Refusal.MALFORMED, first.message)
            raise Refused(Refusal.AGENT_NOT_ACCEPTED, f"Agent {agent.key}: {first.reason}: {first.message}")
        return verdict.policy

    async def _open_isolate(
        self,
        run: Run,
        policy: SessionPolicy,
        environment: IsolateBinding,
        code: Bundle,
        request: Request,
        attributes: dict[str, str],
    ) -> Callable[[], Awaitable[Ending]]:
        host = choose(self._watches.hosts_of(environment.pool), run.id)
        if host is None:
            raise not_yet(
                f"SandboxPool {environment.pool} has no host that is ready: see `kubectl get sandboxpools -n"
                f" {environment.pool.namespace}`, and try again"
            )
        attributes |= {"hostPod": host.uid, "host": host.name, "codeSha256": code.sha256}
        await self._open_account(run, policy, ISOLATE_GRACE_MS, attributes)
        hold = RuntimeHold(self._ledger, run.path, f"runtime/{run.namespace}/{run.id}")
        try:
            first = await hold.begin()
        except LedgerUnavailable as error:
            raise ledger_away() from error
        if not isinstance(first, wire.Granted):
            await close_account(self._ledger, run.path, SessionEnd.RUNTIME_EXHAUSTED, first.message)
            raise by_ledger(first)
        session = isolate.IsolateSession(host, code, request.input)
        return lambda: isolate.conduct(run, session, hold, self._ledger, self._hosts)

    async def _open_container(
        self, run: Run, policy: SessionPolicy, agent: Agent, request: Request, attributes: dict[str, str]
    ) -> Callable[[], Awaitable[Ending]]:
        if len(request.input.encode()) > MAX_INPUT_BYTES:
            raise Refused(
                Refusal.TOO_LARGE,
                "the input of a container session is at most 64 KiB: put more into the image, or let the program fetch"
                " it",
            )
        await self._open_account(run, policy, CONTAINER_GRACE_MS, attributes)
        made = sandbox(agent, run.id, request.input, request.bounds, str(self._incarnation))
        try:
            created = await self._kube.create(SANDBOXES, made, run.namespace)
        except ApiError as error:
            await close_account(self._ledger, run.path, SessionEnd.START_FAILED, error.message)
            if isinstance(error, Forbidden | Invalid):
                raise Refused(
                    Refusal.AGENT_NOT_ACCEPTED, f"the apiserver refuses the Sandbox: {error.message}"
                ) from error
            raise not_yet(f"the Sandbox could not be created: {error.message}") from error
        uid: str = created["metadata"]["uid"]
        conductor = ContainerConductor(run, uid, self._watches.sandboxes, self._kube, self._ledger)
        return conductor.conduct

    async def _open_account(self, run: Run, policy: SessionPolicy, grace_ms: int, attributes: dict[str, str]) -> None:
        opening = wire.Open(
            path=run.path,
            parent=policy.account_parent,
            grace_ms=grace_ms,
            limits=limits(policy.bounds),
            attributes=attributes,
        )
        await open_account(self._ledger, opening)

    async def _conduct(self, run: Run, conducted: Callable[[], Awaitable[Ending]]) -> Ending:
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
        """All sessions of a namespace that the ledger remembers. Raises Refused."""
        try:
            return (await self._ledger.sessions(wire.ListSessions(under=namespace))).sessions
        except LedgerUnavailable as error:
            raise ledger_away() from error

    async def find(self, namespace: str, session: str) -> wire.Usage | None:
        """One session; None where there is none. Raises Refused."""
        try:
            return await self._ledger.usage(wire.GetUsage(path=session_path(namespace, session)))
        except AccountUnknown:
            return None
        except LedgerUnavailable as error:
            raise ledger_away() from error

    # -- killing -----------------------------------------------------------
    async def kill(self, session: wire.Usage, by: str) -> wire.Usage:
        """Kills a session; when this returns, nothing of it is running. Raises Refused."""
        namespace, name = session.path.split("/")[1:]
        message = f"killed by {by}"
        try:
            await self._ledger.kill(wire.Kill(path=session.path, reason=message, by=by))
        except LedgerUnavailable as error:
            raise ledger_away() from error
        ours = self.runs.get(session.path)
        if ours is not None:
            ours[0].stop(SessionEnd.KILLED, message)
        if session.attributes.get("environment") == ISOLATE:
            await self._end_isolate(session, namespace, name)
        else:
            await self._end_container(namespace, name)
        await final_usage(self._ledger, session.path)
        return await self.find(namespace, name) or session

    async def _end_isolate(self, session: wire.Usage, namespace: str, name: str) -> None:
        host = self._watches.host(session.attributes.get("hostPod", ""))
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
                    f" pods -n {namespace} -l ambit.dev/session={name}`"
                )
            await asyncio.sleep(KILL_POLL_S)

    async def _container_runs(self, namespace: str, session: str) -> bool:
        try:
            pods = await self._kube.list(PODS, namespace, label_selector=f"ambit.dev/session={session}")
        except ApiError as error:
            raise not_yet(f"the session is killed, but its Pod cannot be looked for: {error.message}") from error
        return any(_runs(pod) for pod in pods)

    async def kill_orphan(self, orphan: SandboxView) -> None:
        """Ends a container session that nobody waits for. Raises LedgerUnavailable, LedgerError."""
        path = session_path(orphan.metadata.namespace, orphan.metadata.name)
        message = "the gateway that its caller was connected to is gone"
        await self._ledger.kill(wire.Kill(path=path, reason=message, by="ambit-gateway"))

    # -- what the ledger says ------------------------------------------------
    def on_event(self, event: wire.AnyEvent) -> None:
        """Ends the sessions of this gateway that the ledger has ended."""
        if isinstance(event, wire.SessionKilled):
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
            _, namespace, name = path.split("/")
            try:
                usage = await self.find(namespace, name)
            except Refused:
                return  # the ledger is away; it sends Resynchronised again when it is back
            if usage is not None and usage.state is wire.State.ENDED:
                self._stop(path, usage.closed_reason or SessionEnd.KILLED, usage.closed_message)


def _runs(pod: dict[str, Any]) -> bool:
    """Whether a Pod's containers may still run."""
    status: dict[str, Any] = pod.get("status") or {}
    return status.get("phase") not in ("Succeeded", "Failed")
