"""`ambit operator`: composes the parts and runs them until SIGTERM."""

import asyncio
import logging
import os
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from typing import Any, Final

from ambit.control import shell
from ambit.control.accounts import Accounts
from ambit.control.controller import Controller, Reconciler
from ambit.control.events import Recorder
from ambit.control.keyring import Keyring
from ambit.control.ledger_watch import LedgerWatch
from ambit.control.mirror import Mirror
from ambit.control.reconcilers.agent.reconciler import AgentReconciler
from ambit.control.reconcilers.budget.reconciler import BudgetReconciler
from ambit.control.reconcilers.model_route.reconciler import ModelRouteReconciler
from ambit.control.reconcilers.sandbox.executor import Executor
from ambit.control.reconcilers.sandbox.reconciler import SandboxReconciler
from ambit.control.reconcilers.sandbox_pool.reconciler import SandboxPoolReconciler
from ambit.control.settings import Settings
from ambit.control.world import AGENT, BUDGET, POOL, ROUTE, SANDBOX, World
from ambit.control.writer import Writer
from ambit.kube import Key, KubeClient, KubeConfig
from ambit.kube.config import TokenFile
from ambit.ledger.client import LedgerClient, LedgerUnavailable
from ambit.telemetry import health

WORKERS: Final = {BUDGET: 4, AGENT: 4, SANDBOX: 64, POOL: 2, ROUTE: 4}
"""A Sandbox's worker may wait ten seconds for a ledger that is away; the others must not wait for it."""
RETRY_S: Final = 2.0

_log = logging.getLogger(__name__)


class Operator:
    """Everything that runs between kopf's start and its end."""

    def __init__(self, settings: Settings, config: KubeConfig) -> None:
        self._settings = settings
        self._exits = AsyncExitStack()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._client = KubeClient(config)
        self._ledger = LedgerClient(settings.ledger_url, TokenFile(settings.ledger_token_file))
        self.world = World(self._client, settings.namespace)
        self.relister = shell.Relister(self.world, self._client)
        self._keyring = Keyring(self._client, settings.namespace, self._pools_look_again)
        self._controllers: dict[str, Controller] = {}
        self._started = False

    async def start(self) -> None:
        """Health first, so that a start that waits can be seen to; the rest when caches and keys are there."""
        await self._exits.enter_async_context(health.serve(self._settings.health_listen, self._not_ready))
        await self._exits.enter_async_context(self._client)
        await self._exits.enter_async_context(self._ledger)
        for watch in self.world.watches:
            self._spawn(watch.run(), f"watch {watch.resource.plural}")
        self._spawn(self._keyring.run(), "keys")
        self._spawn(self._work(), "work")

    async def stop(self) -> None:
        """Ends every task; what was being done is done again after the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._exits.aclose()

    async def _work(self) -> None:
        await asyncio.gather(self.relister.once(), self.world.synced(), self._keyring.ready.wait())
        accounts = Accounts(self._ledger)
        writer = Writer(self._client, Recorder(self._client, os.environ.get("HOSTNAME", "ambit-operator")))
        executor = Executor(self.world, self._client, self._ledger, writer, self._keyring.session_signer)
        sandboxes = SandboxReconciler(self.world, executor, writer, self._settings.start_timeout_ms)
        reconcilers: dict[str, Reconciler] = {
            BUDGET: BudgetReconciler(self.world, accounts, writer),
            AGENT: AgentReconciler(self.world, accounts, writer),
            SANDBOX: sandboxes,
            POOL: SandboxPoolReconciler(
                self.world,
                self._client,
                writer,
                self._settings.isolate_host_image,
                lambda: self._keyring.gateway_public_key,
            ),
            ROUTE: ModelRouteReconciler(self.world, self._client, writer),
        }
        self._controllers = {
            name: Controller(name, reconciler, WORKERS[name]) for name, reconciler in reconcilers.items()
        }
        self.world.notify(self._enqueue)
        self.world.enqueue_all()
        for name, controller in self._controllers.items():
            self._spawn(controller.run(), f"controller {name}")
        ledger_watch = LedgerWatch(self.world, self._ledger, accounts, sandboxes)
        self._spawn(ledger_watch.run(), "ledger events")
        self._spawn(Mirror(self.world, accounts, self._ledger).run(), "mirror")
        self._spawn(self.relister.run(), "relist")
        self._started = True
        _log.info("reconciling")
        await _until_done(ledger_watch.remove_orphans)

    def _enqueue(self, controller: str, key: Key) -> None:
        self._controllers[controller].enqueue(key)

    def _pools_look_again(self) -> None:
        for key in self.world.pools.items:
            self.world.look_at(POOL, key)

    def _not_ready(self) -> str | None:
        if self._keyring.problem is not None:
            return f"keys: {self._keyring.problem}"
        return self.world.not_synced() or (None if self._started else "the first pass")

    def _spawn(self, work: Coroutine[Any, Any, Any], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        """A part that fails takes the process with it: a restart finds out everything again, half an operator lies."""
        if task.cancelled() or task.exception() is None:
            return
        _log.critical("%s failed", task.get_name(), exc_info=task.exception())
        os._exit(1)


async def _until_done(work: Any) -> None:
    while True:
        with suppress(LedgerUnavailable):
            await work()
            return
        await asyncio.sleep(RETRY_S)


async def run(settings: Settings) -> None:
    """Runs the operator until SIGTERM or SIGINT."""
    config = KubeConfig.load(os.environ)
    operator = Operator(settings, config)
    await shell.run(config, operator.world, operator.relister, start=operator.start, stop=operator.stop)
