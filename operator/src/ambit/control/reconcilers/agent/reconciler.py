"""Brings an Agent's account to the ledger, and what is known of it to its status."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from ambit.api.agent import Agent
from ambit.api.budget import Budget
from ambit.api.names import agent_path
from ambit.control.accounts import Accounts
from ambit.control.enforcement import NOT_ACCEPTED, Enforcement, enforce
from ambit.control.reconcilers.agent.decide import Snapshot, status_of
from ambit.control.world import World
from ambit.control.writer import Writer
from ambit.kube import Key
from ambit.policy import Allowed, Verdict, judge_agent

RETRY_S: Final = 5.0


class AgentReconciler:
    def __init__(self, world: World, accounts: Accounts, writer: Writer) -> None:
        self._world = world
        self._accounts = accounts
        self._writer = writer
        self._kind = next(kind for kind in world.kinds if kind.store is world.agents)

    async def reconcile(self, key: Key) -> float | None:
        agent = self._world.agents.items.get(key)
        if agent is None:
            await self._accounts.remove(agent_path(*key))
            return None
        verdict = judge_agent(agent, self._world.facts())
        enforcement = await self._enforce(agent, verdict)
        agent = self._world.agents.items.get(key)
        if agent is None:
            return 0.0  # deleted meanwhile
        if enforcement is None:
            return RETRY_S
        status = status_of(self._snapshot(agent, verdict, enforcement), datetime.now(UTC))
        await self._writer.status(self._kind, agent, agent.status, status)
        return None if enforcement.holds or not isinstance(verdict, Allowed) else RETRY_S

    async def _enforce(self, agent: Agent, verdict: Verdict) -> Enforcement | None:
        if not isinstance(verdict, Allowed) or verdict.account is None:
            return NOT_ACCEPTED
        zone = self._world.budgets.items[verdict.policy.budget].spec.time_zone
        return await enforce(self._world, self._accounts, verdict.account, zone, agent.metadata.generation)

    def _snapshot(self, agent: Agent, verdict: Verdict, enforcement: Enforcement) -> Snapshot:
        sandboxes = self._world.sandboxes_of(agent.key)
        return Snapshot(
            agent=agent,
            verdict=verdict,
            enforcement=enforcement,
            budgets=tuple(self._budgets(verdict)),
            pool=self._world.pool_of(agent),
            newest=max(sandboxes, key=lambda sandbox: sandbox.metadata.creation_timestamp or "", default=None),
            active=self._accounts.active.get(agent_path(*agent.key)),
        )

    def _budgets(self, verdict: Verdict) -> Iterator[Budget]:
        """The Budget that an Agent spends from, and those above; policy has found the chain to be finite."""
        if not isinstance(verdict, Allowed):
            return
        budget = self._world.budgets.items.get(verdict.policy.budget)
        while budget is not None:
            yield budget
            ref = budget.spec.parent_ref
            budget = self._world.budgets.items.get(ref.key(budget.key.namespace)) if ref is not None else None
