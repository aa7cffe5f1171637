"""Opening a session: judged, given an account, and begun; or refused, with nothing left behind that runs."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Final

from ambit.api import names
from ambit.api.agent import Agent
from ambit.api.base import InvalidObject, ObjectKey
from ambit.api.common import BoundsOverride
from ambit.api.environment import ContainerEnvironment
from ambit.gateway.refusals import ledger_away, not_yet
from ambit.gateway.sessions import isolate
from ambit.gateway.sessions.accounts import close_account, limits, new_session_id, open_account
from ambit.gateway.sessions.code import bundle, sizes
from ambit.gateway.sessions.container import ContainerConductor
from ambit.gateway.sessions.hosts import HostClient
from ambit.gateway.sessions.places import Places
from ambit.gateway.sessions.refusals import by_ledger, refused
from ambit.gateway.sessions.run import Ending, Run
from ambit.gateway.sessions.runtime import ROOM_PATIENCE_S, RuntimeHold
from ambit.gateway.sessions.sandboxes import MAX_INPUT_BYTES, sandbox
from ambit.gateway.sessions.watches import Watches
from ambit.kube import ApiError, Forbidden, Identity, Invalid, KubeClient, NotFound
from ambit.kube.resources import AGENTS, CONFIG_MAPS, SANDBOXES
from ambit.ledger import wire
from ambit.ledger.client import LedgerClient, LedgerUnavailable
from ambit.policy import Facts
from ambit.policy.runtime_slices import hold_id
from ambit.policy.sessions import judge_agent, user_problem
from ambit.policy.verdict import Denied, IsolateBinding, SessionPolicy
from ambit.telemetry.reasons import Denial, Refusal, SessionEnd

ISOLATE_GRACE_MS: Final = 10_000
"""An isolate session without an open hold for so long is nobody's."""
CONTAINER_GRACE_MS: Final = 120_000
"""The same of a container: the operator may be restarting when its Sandbox is made."""

Conducted = Callable[[], Awaitable[Ending]]
"""Carries a session that was begun to its end."""


@dataclass(frozen=True)
class Request:
    """What a caller asks for."""

    agent: ObjectKey
    input: str = ""
    bounds: BoundsOverride | None = None
    user: str = ""
    """For whom it is: an Agent with `perUser` bounds each apart."""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    """By what its usage is told apart."""


class Opener:
    """Opens sessions."""

    def __init__(
        self,
        kube: KubeClient,
        ledger: LedgerClient,
        hosts: HostClient,
        watches: Watches,
        facts: Callable[[], Facts],
        pod_name: str,
    ) -> None:
        self._kube = kube
        self._ledger = ledger
        self._hosts = hosts
        self._places = Places(hosts)
        self._watches = watches
        self._facts = facts
        self._pod_name = pod_name
        self._listeners: list[Callable[[str, str], None]] = []

    def subscribe(self, opened: Callable[[str, str], None]) -> None:
        """`opened` is told the account of each session that was opened, and of its parent."""
        self._listeners.append(opened)

    async def open(self, request: Request, identity: Identity) -> tuple[Run, Conducted]:
        """Opens the session's account and begins it. Raises RefusedCall."""
        requested_s = asyncio.get_running_loop().time()
        agent = await self._agent(request.agent)
        nobody = user_problem(agent, request.user, "say whose session it is (ambit run --user, or user in the body)")
        if nobody is not None:
            raise refused(Refusal.MALFORMED, nobody.message)
        modules = await self._modules(agent)
        policy = self._judge(agent, modules, request.bounds)
        session = new_session_id()
        run = Run(
            namespace=agent.key.namespace,
            id=session,
            path=names.session_path(agent.key.namespace, session),
            agent=agent.key.name,
            environment=names.CONTAINER if isinstance(policy.environment, ContainerEnvironment) else names.ISOLATE,
            runtime_bound_ms=policy.bounds.runtime_ms,
            requested_s=requested_s,
        )
        attributes = {
            names.AGENT_ATTRIBUTE: str(agent.key),
            names.ENVIRONMENT_ATTRIBUTE: run.environment,
            names.USER_ATTRIBUTE: identity.username,
        }
        if isinstance(policy.environment, IsolateBinding):
            return run, await self._isolate(run, policy, policy.environment, modules or {}, request, attributes)
        return run, await self._container(run, policy, agent, request, attributes)

    async def _agent(self, key: ObjectKey) -> Agent:
        """From the cache; one that was just created may not be in it yet."""
        known = self._facts().agents.get(key)
        if known is not None:
            return known
        try:
            return Agent.from_dict(await self._kube.get(AGENTS, key.name, key.namespace))
        except NotFound as error:
            raise refused(
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
        try:
            verdict = judge_agent(agent, replace(self._facts(), code=code, pools=self._watches.pools), asked)
        except ValueError as error:  # an amount that was asked for cannot be counted
            raise refused(Refusal.MALFORMED, f"bounds: {error}") from error
        if isinstance(verdict, Denied):
            first = verdict.problems[0]
            if first.reason is Denial.BOUND_ABOVE_AGENT:
                raise refused(Refusal.MALFORMED, first.message)
            raise refused(Refusal.AGENT_NOT_ACCEPTED, f"Agent {agent.key}: {first.reason}: {first.message}")
        return verdict.policy

    async def _isolate(
        self,
        run: Run,
        policy: SessionPolicy,
        environment: IsolateBinding,
        modules: Mapping[str, str],
        request: Request,
        attributes: Mapping[str, str],
    ) -> Conducted:
        host = await self._places.take(
            environment.pool, self._watches.hosts_of(environment.pool), run.namespace, run.id
        )
        async with AsyncExitStack() as undo:
            undo.push_async_callback(self._places.give_back, host, run.namespace, run.id)
            code = bundle(environment.main, modules)
            placed = {
                names.HOST_POD_ATTRIBUTE: host.uid,
                names.HOST_ATTRIBUTE: host.name,
                names.CODE_ATTRIBUTE: code.sha256,
            }
            await self._open_account(run, policy, request, ISOLATE_GRACE_MS, {**attributes, **placed})
            hold = await self._first_slice(run)
            undo.pop_all()
        return lambda: self._conduct(run, isolate.IsolateSession(host, code, request.input), hold)

    async def _first_slice(self, run: Run) -> RuntimeHold:
        """The session's runtime, held and begun. Raises RefusedCall."""
        hold = RuntimeHold(self._ledger, run.path, hold_id(run.namespace, run.id))
        try:
            first = await hold.begin()
        except LedgerUnavailable as error:
            raise ledger_away() from error
        if not isinstance(first, wire.Granted):
            await close_account(self._ledger, run.path, SessionEnd.RUNTIME_EXHAUSTED, first.message)
            raise by_ledger(first, ROOM_PATIENCE_S)
        return hold

    async def _conduct(self, run: Run, session: isolate.IsolateSession, hold: RuntimeHold) -> Ending:
        try:
            return await isolate.conduct(run, session, hold, self._ledger, self._hosts)
        finally:
            self._places.free(session.host)

    async def _container(
        self, run: Run, policy: SessionPolicy, agent: Agent, request: Request, attributes: Mapping[str, str]
    ) -> Conducted:
        if len(request.input.encode()) > MAX_INPUT_BYTES:
            raise refused(
                Refusal.TOO_LARGE,
                "the input of a container session is at most 64 KiB: put more into the image, or let the program fetch"
                " it",
            )
        await self._open_account(run, policy, request, CONTAINER_GRACE_MS, attributes)
        made = sandbox(
            agent, run.id, request.input, request.bounds, self._pod_name, user=request.user, labels=request.labels
        )
        try:
            created = await self._kube.create(SANDBOXES, made, run.namespace)
        except ApiError as error:
            # Where no answer came it may be there: the ledger has ended the session, and nothing is run for it.
            await close_account(self._ledger, run.path, SessionEnd.START_FAILED, error.message)
            if isinstance(error, Forbidden | Invalid):
                raise refused(
                    Refusal.AGENT_NOT_ACCEPTED, f"the apiserver refuses the Sandbox: {error.message}"
                ) from error
            raise not_yet(f"the Sandbox could not be created: {error.message}") from error
        uid: str = created["metadata"]["uid"]
        return ContainerConductor(run, uid, self._watches.sandboxes, self._kube, self._ledger).conduct

    async def _open_account(
        self, run: Run, policy: SessionPolicy, request: Request, grace_ms: int, attributes: Mapping[str, str]
    ) -> None:
        opening = wire.Open(
            path=run.path,
            parent=policy.account_parent,
            grace_ms=grace_ms,
            limits=limits(policy),
            attributes=dict(attributes),
            user=request.user,
            labels=dict(request.labels),
        )
        await open_account(self._ledger, opening)
        for listener in self._listeners:
            listener(run.path, policy.account_parent)
