"""Brings a Budget's account to the ledger, and its state to the Budget's status."""

from datetime import UTC, datetime
from typing import Final

from ambit.api.budget import Budget
from ambit.api.names import budget_path
from ambit.control.accounts import Accounts
from ambit.control.enforcement import NOT_ACCEPTED, Enforcement, enforce
from ambit.control.reconcilers.budget.decide import Snapshot, decide
from ambit.control.world import World
from ambit.control.writer import Writer
from ambit.kube import Key
from ambit.policy import BudgetAccepted, BudgetVerdict, judge_budget

RETRY_S: Final = 5.0
"""While the ledger is away, or refuses. What waits for its parent is told when that is held."""


class BudgetReconciler:
    def __init__(self, world: World, accounts: Accounts, writer: Writer) -> None:
        self._world = world
        self._accounts = accounts
        self._writer = writer
        self._kind = next(kind for kind in world.kinds if kind.store is world.budgets)

    async def reconcile(self, key: Key) -> float | None:
        budget = self._world.budgets.items.get(key)
        if budget is None:
            await self._accounts.remove(budget_path(*key))
            return None
        verdict = judge_budget(budget, self._world.facts())
        enforcement = await self._enforce(budget, verdict)
        budget = self._world.budgets.items.get(key)
        if budget is None:
            return 0.0  # deleted meanwhile
        if enforcement is None:
            return RETRY_S
        usage = self._accounts.usages.get(budget_path(*key)) if enforcement.holds else None
        status, tellings = decide(Snapshot(budget, verdict, enforcement, usage), datetime.now(UTC))
        await self._writer.status(self._kind, budget, budget.status, status, tellings)
        return None if enforcement.holds or not isinstance(verdict, BudgetAccepted) else RETRY_S

    async def _enforce(self, budget: Budget, verdict: BudgetVerdict) -> Enforcement | None:
        if not isinstance(verdict, BudgetAccepted):
            return NOT_ACCEPTED
        zone = verdict.account.time_zone or budget.spec.time_zone
        return await enforce(self._world, self._accounts, verdict.account, zone, budget.metadata.generation)
