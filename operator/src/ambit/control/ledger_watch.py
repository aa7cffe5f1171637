"""The ledger's events, and what was missed of them: sessions that ended, accounts that belong to nobody any more."""

import logging
from typing import Final, NoReturn

from ambit.api.names import AGENT_ACCOUNT, BUDGET_ACCOUNT, AccountName
from ambit.control.accounts import Accounts
from ambit.control.reconcilers.sandbox.reconciler import SandboxReconciler
from ambit.control.world import World
from ambit.ledger import wire
from ambit.ledger.client import LedgerClient

_KINDS: Final = {BUDGET_ACCOUNT, AGENT_ACCOUNT}
_log = logging.getLogger(__name__)


class LedgerWatch:
    """Follows the ledger's events for as long as the operator runs."""

    def __init__(self, world: World, ledger: LedgerClient, accounts: Accounts, sandboxes: SandboxReconciler) -> None:
        self._world = world
        self._ledger = ledger
        self._accounts = accounts
        self._sandboxes = sandboxes

    async def run(self) -> NoReturn:
        """Until cancelled."""
        while True:
            async for event in self._ledger.events():
                match event:
                    case wire.SessionKilled() | wire.SessionEnded():
                        self._sandboxes.session_changed(event.path)
                    case wire.Resynchronised():
                        _log.info("events of the ledger may have been missed: everything is looked at again")
                        self._sandboxes.all_sessions_changed()
                        self._accounts.forget()
                        self._world.enqueue_all()
                    case _:
                        continue

    async def remove_orphans(self) -> None:
        """Removes the accounts of Agents and Budgets that were deleted while no operator ran.

        Looked for where it matters: above the sessions that are open. Raises LedgerUnavailable.
        """
        for namespace in tuple(self._world.namespace_names()):
            answer = await self._ledger.sessions(wire.ListSessions(namespace, state=wire.State.OPEN))
            for path in {session.parent for session in answer.sessions if session.parent is not None}:
                if not self._is_there(path):
                    _log.info("%s is in the ledger and no longer in the cluster: removing its account", path)
                    await self._accounts.remove(path)

    def _is_there(self, path: str) -> bool:
        kind, namespace, name = AccountName.parse(path)
        if kind not in _KINDS:
            return True
        items = self._world.budgets.items if kind == BUDGET_ACCOUNT else self._world.agents.items
        return (namespace, name) in items
