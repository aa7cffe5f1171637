"""Brings a Budget's account to the ledger, and its state to the Budget's status."""

from datetime import UTC, datetime
from typing import Final

from ambit.control.accounts import Accounts, Parentless
from ambit.control.names import budget_path
from ambit.control.reconcilers.budget.decide import Enforcement, Snapshot, status_of
from ambit.control.world import World
from ambit.control.writer import Writer
from ambit.kube import Key
from ambit.ledger.client import LedgerError, LedgerUnavailable
from ambit.policy import BudgetAccepted, BudgetVerdict, judge_budget
from ambit.telemetry.reasons import Progress

RETRY_S: Final = 5.0
"""While the ledger is away, or refuses. What waits for its parent is told when that is held."""


class BudgetReconciler:
    def __init__(self, world: World, accounts: Accounts, writer: Writer) -> None:
        self._world = world
        self._accounts = accounts
        self._writer = writer
        self._kind = next(kind for kind in world.kinds if kind.store is world.budgets)

    async def reconcile(self, key: Key) -> float | None:
        if key not in self._world.budgets.items:
            await self._accounts.remove(budget_path(*key))
            return None
        verdict = judge_budget(self._world.budgets.items[key], self._world.facts())
        enforcement = await self._enforce(key, verdict)
        budget = self._world.budgets.items.get(key)
        if budget is None:
            return 0.0  # deleted meanwhile
        usage = self._accounts.usages.get(budget_path(*key)) if enforcement.holds else None
        status = status_of(Snapshot(budget, verdict, enforcement, usage), datetime.now(UTC))
        await self._writer.status(self._kind, budget, budget.status, status)
        return None if enforcement.holds or not isinstance(verdict, BudgetAccepted) else RETRY_S

    async def _enforce(self, key: Key, verdict: BudgetVerdict) -> Enforcement:
        if not isinstance(verdict, BudgetAccepted):
            return Enforcement(holds=False, reason=Progress.ACCOUNT_PENDING, message="the Budget is not accepted")
        account = verdict.account
        zone = account.time_zone or self._world.budgets.items[key].spec.time_zone
        try:
            put = await self._accounts.put(account, zone)
        except LedgerUnavailable as away:
            return Enforcement(holds=False, reason=Progress.LEDGER_AWAY, message=str(away))
        except LedgerError as wrong:
            return Enforcement(holds=False, reason=Progress.ACCOUNT_PENDING, message=str(wrong))
        if isinstance(put, Parentless):
            self._world.look_at_account(put.parent)
            return Enforcement(
                holds=False, reason=Progress.ACCOUNT_PENDING, message=f"the ledger does not hold {put.parent} yet"
            )
        if put:
            self._world.budget_dependents(key)
        return Enforcement(holds=True, reason=Progress.ENFORCED)
