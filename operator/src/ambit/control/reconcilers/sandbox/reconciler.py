"""Carries out what `decide` asks for a Sandbox: the only place here that does anything."""

from collections.abc import Callable
from typing import Final

from ambit.api import names
from ambit.api.conditions import ConditionType, find
from ambit.api.sandbox import Sandbox, SandboxStatus
from ambit.control.obstacles import Obstacle
from ambit.control.reconcilers.sandbox import manifests
from ambit.control.reconcilers.sandbox.decide import decide
from ambit.control.reconcilers.sandbox.executor import Executor, clock_ms
from ambit.control.reconcilers.sandbox.memory import Memory
from ambit.control.reconcilers.sandbox.observe import Run, run_of
from ambit.control.reconcilers.sandbox.plan import Action, ExtendRuntime, HoldRuntime, LookAtPod, Plan, StopPod
from ambit.control.reconcilers.sandbox.state import Snapshot
from ambit.control.reconcilers.sandbox.status import status_of
from ambit.control.world import World
from ambit.control.writer import Writer
from ambit.kube import Key
from ambit.ledger.client import LedgerUnavailable
from ambit.policy import judge_sandbox
from ambit.policy.runtime_slices import ASK_AGAIN_MS
from ambit.telemetry import metrics
from ambit.telemetry.reasons import Progress

MOST_STEPS: Final = 24
"""Of one pass; a whole life has fewer."""


class SandboxReconciler:
    def __init__(
        self,
        world: World,
        executor: Executor,
        writer: Writer,
        start_timeout_ms: int,
        now_ms: Callable[[], int] = clock_ms,
    ) -> None:
        self._world = world
        self._executor = executor
        self._writer = writer
        self._start_timeout_ms = start_timeout_ms
        self._kind = next(kind for kind in world.kinds if kind.store is world.sandboxes)
        self._memories: dict[Key, Memory] = {}
        self._now_ms = now_ms

    async def reconcile(self, key: Key) -> float | None:
        """Decides and acts until there is nothing to do but wait."""
        step = Step()
        for _ in range(MOST_STEPS):
            sandbox = self._world.sandboxes.items.get(key)
            if sandbox is None:
                self._forget(key)
                return None
            memory = self._memory(sandbox)
            plan = decide(self._snapshot(sandbox, memory, step), self._now_ms())
            if not plan.actions:
                return await self._settle_for(sandbox, memory, plan)
            for action in plan.actions:
                try:
                    refused = await self._executor.carry_out(action, sandbox, memory)
                except LedgerUnavailable as away:
                    refused = Obstacle(Progress.LEDGER_AWAY, str(away))
                    if not isinstance(action, ExtendRuntime | HoldRuntime):
                        return await self._ledger_away(sandbox, memory, refused)
                if refused is not None:
                    step.take(refused)
                    break
                step.done(action)
        raise RuntimeError(f"Sandbox {key[0]}/{key[1]} is not decided after {MOST_STEPS} steps")

    def session_changed(self, path: str) -> None:
        """The ledger said that a session ended: ask it again. `path` may be anybody's."""
        kind, namespace, session = names.AccountName.parse(path)
        if kind != names.SESSION_ACCOUNT:
            return
        for key in ((namespace, session), (namespace, session[:-9])):  # the gateway's, or <name>-<8 of the UID>
            sandbox = self._world.sandboxes.items.get(key)
            if sandbox is not None and manifests.session_id(sandbox) == session:
                self._ask_again(key)

    def all_sessions_changed(self) -> None:
        """Events of the ledger may have been missed."""
        for key in tuple(self._memories):
            self._ask_again(key)

    def _ask_again(self, key: Key) -> None:
        memory = self._memories.get(key)
        if memory is not None:
            memory.session = None
        self._world.look_at(self._kind.controller, key)

    # -- between world and decision -------------------------------------------
    def _snapshot(self, sandbox: Sandbox, memory: Memory, step: "Step") -> Snapshot:
        now_ms = self._now_ms()
        name = (sandbox.metadata.namespace, manifests.session_id(sandbox))
        cached = self._world.pods.items.get(name)
        if cached is not None and not cached.metadata.owned_by(sandbox.metadata.uid):
            cached = None
        pod = memory.pod(cached, now_ms)
        policy = self._world.policies.items.get(name)
        owned = policy is not None and policy.metadata.owned_by(sandbox.metadata.uid)
        gateway_ip = self._world.gateway_ip
        cluster = None
        if gateway_ip is not None:
            cluster = manifests.Cluster(
                control_namespace=self._world.namespace,
                gateway_ip=gateway_ip,
                has_gvisor=self._world.has_gvisor,
                start_timeout_ms=self._start_timeout_ms,
            )
        return Snapshot(
            sandbox=sandbox,
            verdict=judge_sandbox(sandbox, self._world.facts()),
            cluster=cluster,
            session=memory.session,
            pod=pod,
            last_pod=memory.last_pod,
            looked=step.looked,
            has_policy=owned or memory.policy_made,
            has_token=memory.token_made,
            refused=step.refused,
            ledger=step.ledger,
            denial=memory.denial,
            stopped_for=memory.stopped_for,
            told_to_stop=step.told_to_stop,
        )

    async def _settle_for(self, sandbox: Sandbox, memory: Memory, plan: Plan) -> float | None:
        if plan.status is not None:
            await self._writer.status(self._kind, sandbox, sandbox.status, plan.status)
            self._count(memory, sandbox.status, plan.status)
        return None if plan.look_again_in_ms is None else plan.look_again_in_ms / 1000

    async def _ledger_away(self, sandbox: Sandbox, memory: Memory, away: Obstacle) -> float:
        """Without the ledger nothing more can be decided: say so once, and ask again."""
        said = find(sandbox.status.conditions, ConditionType.READY)
        if said is None or said.reason != Progress.LEDGER_AWAY:
            snapshot = self._snapshot(sandbox, memory, Step())
            run = run_of(snapshot.pod) if snapshot.pod is not None else Run()
            status = status_of(snapshot, run, None, away, self._now_ms())
            await self._settle_for(sandbox, memory, Plan(status=status))
        return ASK_AGAIN_MS / 1000

    # -- memory and metrics ------------------------------------------------------
    def _memory(self, sandbox: Sandbox) -> Memory:
        memory = self._memories.get(sandbox.key)
        if memory is None or memory.uid != sandbox.metadata.uid:
            self._forget(sandbox.key)
            memory = self._memories[sandbox.key] = Memory(uid=sandbox.metadata.uid)
        return memory

    def _forget(self, key: Key) -> None:
        memory = self._memories.pop(key, None)
        if memory is not None and memory.told_reason:
            metrics.SANDBOXES.labels(memory.told_reason).dec()

    def _count(self, memory: Memory, before: SandboxStatus, after: SandboxStatus) -> None:
        ready = find(after.conditions, ConditionType.READY)
        reason = ready.reason if ready is not None else ""
        if reason != memory.told_reason:
            if memory.told_reason:
                metrics.SANDBOXES.labels(memory.told_reason).dec()
            metrics.SANDBOXES.labels(reason).inc()
            memory.told_reason = reason
        if before.started_at is None and after.startup is not None and after.startup.started_ms is not None:
            metrics.SANDBOX_START_SECONDS.observe(after.startup.started_ms / 1000)
        if before.reason is None and after.reason is not None:
            metrics.SANDBOX_ENDS.labels(after.reason).inc()


class Step:
    """What this pass has done that the watch need not have shown yet, and what stood in its way."""

    def __init__(self) -> None:
        self.refused: Obstacle | None = None
        self.ledger: Obstacle | None = None
        self.looked = False
        self.told_to_stop = False

    def done(self, action: Action) -> None:
        self.looked = self.looked or isinstance(action, LookAtPod)
        self.told_to_stop = self.told_to_stop or isinstance(action, StopPod)

    def take(self, obstacle: Obstacle) -> None:
        if obstacle.reason in (Progress.REFUSED, Progress.NAME_TAKEN):
            self.refused = obstacle
        else:
            self.ledger = obstacle
