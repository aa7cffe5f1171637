"""The ledger's processes: one writes, may be killed at any of its awaits or stopped, and another takes over.

Each incarnation has a model of its own, made from the facts on the disk when it recovers, and asked about every
operation that its writer applies.
"""

import asyncio
import traceback
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from random import Random
from typing import NamedTuple
from unittest.mock import patch

import msgspec

from ambit.ledger import wire
from ambit.ledger.changes import AnyChange
from ambit.ledger.clock import Ahead, Clock, Reading
from ambit.ledger.dispatch import Dispatcher
from ambit.ledger.journal import Batch, JournalError
from ambit.ledger.state import State
from ambit.ledger.timekeeping import Timekeeper
from ambit.ledger.tree import Facts as TreeFacts
from ambit.ledger.tree import Outcome, Tree
from ambit.ledger.writer import LedgerStopped, Writer
from ambit.telemetry import metrics
from tests.ledger_simulation.disk import Disk, SimulatedStore
from tests.ledger_simulation.faults import Faults
from tests.ledger_simulation.loop import CURRENT, Process, SimulatedLoop
from tests.ledger_simulation.model import Fact, Model
from tests.ledger_simulation.model.facts import told
from tests.ledger_simulation.network import Answer, Refusing
from tests.ledger_simulation.setting import Setting
from tests.ledger_simulation.trace import Trace

VERSION = 2
RESTART_S = 0.2
SMALL_JUMP_MS = 5 * 60 * 1000
"""Of the wall clock: believed without a word."""
TAKEOVER_S = 3.0
"""How long after the writer fell silent another process takes over: longer than the writer's lease."""


class Facts(NamedTuple):
    """What a batch holds, and how many changes this incarnation had made at its end."""

    facts: tuple[Fact, ...]
    upto: int


_REQUEST: ContextVar[list[int] | None] = ContextVar("request", default=None)
"""Of a request that is served: how many changes the incarnation had made when its last operation was applied."""


class Incarnation:
    """One process of the ledger, from its start to its death."""

    def __init__(
        self,
        name: str,
        cluster: "Cluster",
    ) -> None:
        self.process = Process(name)
        self.process.owner = self
        self._cluster = cluster
        self._trace = cluster.trace
        self.store: SimulatedStore[Facts] = SimulatedStore(cluster.disk, cluster.faults, cluster.random, self)
        self.model = Model(cluster.setting.windows, cluster.setting.at_once)
        self.tree: Tree | None = None
        self.serving = False
        self._dispatcher = Dispatcher()
        self._facts: deque[tuple[int, Fact]] = deque()
        self._applied = 0
        """Changes, of this incarnation's operations."""
        self._taken = 0
        """Of those, how many are in batches."""
        self._durable = 0
        """Of those, how many are on the disk."""

    async def live(self) -> None:
        """Recovers, serves, and is over when the journal fails it."""
        # The loop's clock is that of the machine's boot: it goes on whichever process runs.
        timekeeper = Timekeeper(self._cluster.wall_ms, notes=self._cluster.notes)
        writer = Writer(self.store, _nobody_listens, timekeeper, self._cluster.compact_after)
        try:
            await writer.recover()
            self.follow(writer.tree)
            self._dispatcher.writer = writer
            self.serving = True
            self.say("serves")
            await writer.run()
        except JournalError as error:
            self.say(f"ends: {error}")
        self.serving = False
        self._cluster.ended(self)

    async def answer(self, component: str, body: bytes) -> bytes:
        """What the HTTP service does with a request."""
        request = [0]
        _REQUEST.set(request)
        try:
            answered = await self._dispatcher.answer(component, body, VERSION)
        except LedgerStopped as error:
            raise Refusing(str(error)) from error
        if request[0] > self._durable:
            self._cluster.fail(f"answered before journalled: {request[0]} changes seen, {self._durable} on the disk")
        return answered

    def die(self) -> None:
        """SIGKILL."""
        self.process.alive = False
        self.serving = False
        self.store.die()

    # -- what production is seen to do

    def applied(
        self,
        now_ms: int,
        component: str,
        op: wire.AnyOperation | None,
        result: wire.AnyResult | None,
        made: Sequence[AnyChange],
    ) -> None:
        """The writer applied an operation, or let time pass."""
        self.changed(now_ms, len(made))
        fact = Fact(now_ms, component, op, result, told(made) if made else ())
        if made:
            self._facts.append((self._applied, fact))
        if self._trace.wanted and op is not None:
            self.say(f"{component}: {op} → {result}")
        if isinstance(result, wire.ClockAccepted):
            self._cluster.clock_accepted()
        self.model.step(fact)
        if self.model.problems:
            self._cluster.fail("; ".join(self.model.problems))

    def changed(self, now_ms: int, changes_made: int) -> None:
        """The writer made changes, which whoever is answered from now on has seen."""
        self._applied += changes_made
        request = _REQUEST.get()
        if request is not None:
            request[0] = self._applied
        latest_ms = self._cluster.latest_ms()
        if now_ms > latest_ms:
            self._cluster.fail(f"the ledger's clock is at {now_ms}, and {latest_ms} is the latest it may")

    def follow(self, tree: Tree) -> None:
        """Makes the model of a tree that recovered from the disk, and compares them."""
        if tree is self.tree:
            return
        self.tree = tree
        self.model = Model(self._cluster.setting.windows, self._cluster.setting.at_once)
        for each in self._cluster.disk.history:
            self.model.replay(each.facts)
        self._cluster.recovered(tree, self.model)

    # -- what the store asks of its oracle

    def facts_of(self, batch: Batch) -> Facts:
        self._taken += len(msgspec.msgpack.decode(batch.changes))
        taken: list[Fact] = []
        while self._facts and self._facts[0][0] <= self._taken:
            taken.append(self._facts.popleft()[1])
        return Facts(tuple(taken), self._taken)

    def kept(self, facts: Facts) -> None:
        self._durable = facts.upto

    def say(self, what: str) -> None:
        if self._trace.wanted:
            self._trace(self.process.name, what)


class Notes:
    """How the clocks stand, as a process of the ledger left it for the next."""

    def __init__(self) -> None:
        self._kept: Ahead | None = None

    async def load(self) -> Ahead | None:
        return self._kept

    async def keep(self, ahead: Ahead) -> None:
        self._kept = ahead


class Cluster:
    """All that have been the ledger, and what they share: the disk, and the wall clock."""

    def __init__(
        self,
        loop: SimulatedLoop,
        setting: Setting,
        faults: Faults,
        random: Random,
        trace: Trace,
        fail: Callable[[str], None],
        recovered: Callable[[Tree, Model], None],
    ) -> None:
        self.loop = loop
        self.setting = setting
        self.faults = faults
        self.random = random
        self.trace = trace
        self.fail = fail
        self.recovered = recovered
        self.disk: Disk[Facts] = Disk()
        self.notes = Notes()
        self.compact_after = 30 if faults.snapshots_often else 100_000
        self.clock_off_ms = 0
        """How far the wall clock is from the true time, by jumps."""
        self._trusted_off_ms = 0
        self.incarnations: list[Incarnation] = []
        self.disconnected: list[Callable[[Process], None]] = []
        """Told when the connections of a process break."""

    def wall_ms(self) -> int:
        """The wall clock of the machines that the ledger runs on."""
        return self.setting.begins_ms + self.clock_off_ms + int(self.loop.time() * 1000)

    def jump(self, by_ms: int) -> None:
        """The wall clock is set, forward or back."""
        self.clock_off_ms += by_ms
        if by_ms <= SMALL_JUMP_MS:
            self._trusted_off_ms = max(self._trusted_off_ms + max(by_ms, 0), 0)

    def clock_accepted(self) -> None:
        """The wall clock as it stands is right."""
        self._trusted_off_ms = max(self._trusted_off_ms, self.clock_off_ms)

    def latest_ms(self) -> int:
        """What the ledger's clock may show at the most: a doubted jump begins no window."""
        true_ms = self.setting.begins_ms + int(self.loop.time() * 1000)
        return true_ms + self._trusted_off_ms + SMALL_JUMP_MS + 1

    def start(self) -> None:
        """Another process of the ledger starts, and takes over."""
        incarnation = Incarnation(f"ledger-{len(self.incarnations) + 1}", self)
        self.incarnations.append(incarnation)
        self.loop.spawn(incarnation.process, incarnation.live(), "ledger").add_done_callback(self._no_defect)

    def _no_defect(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.fail("the ledger broke down: " + "".join(traceback.format_exception(error)))

    def reach(self) -> tuple[Process, Answer] | None:
        """Whom a new connection finds: the newest that serves, and at times one that does not know that it is over."""
        serving = [each for each in self.incarnations if each.serving]
        if not serving:
            return None
        found = serving[-1] if len(serving) == 1 or self.random.random() < 0.8 else serving[0]
        return found.process, found.answer

    def kill_soon(self) -> None:
        """SIGKILL at one of the next awaits of whichever process serves."""
        newest = self.incarnations[-1]
        newest.process.kill_at_step = newest.process.steps + 1 + int(self.random.random() * 20)
        newest.process.killed = lambda: self._killed(newest)

    def _killed(self, incarnation: Incarnation) -> None:
        if incarnation.process.alive:
            incarnation.say("killed")
            incarnation.die()
            self.ended(incarnation)

    def stop_for_a_while(self) -> None:
        """SIGSTOP; another takes over, and later the first goes on where it was."""
        stopped = self.incarnations[-1]
        if not stopped.serving or stopped.process.stopped:
            return
        stopped.say("stopped")
        stopped.process.stopped = True
        self.loop.later(TAKEOVER_S, self.start)
        self.loop.later(TAKEOVER_S * (0.5 + 3 * self.random.random()), self._resume, stopped)

    def _resume(self, stopped: Incarnation) -> None:
        if stopped.process.alive:
            stopped.say("goes on")
            self.loop.resume(stopped.process)

    def ended(self, incarnation: Incarnation) -> None:
        """A process is over; the next one starts if it was the newest."""
        for tell in self.disconnected:
            tell(incarnation.process)
        if incarnation is self.incarnations[-1]:
            self.loop.later(RESTART_S, self._start_after, incarnation)

    def _start_after(self, incarnation: Incarnation) -> None:
        if incarnation is self.incarnations[-1]:
            self.start()


def _nobody_listens(batch: Sequence[AnyChange]) -> None:
    pass


@contextmanager
def observed() -> Generator[None]:
    """While this lasts, whatever a tree does in a process of the ledger is told to its incarnation."""
    apply, advance, read = Tree.apply, Tree.advance, Clock.read

    def observed_apply(self: Tree, component: str, op: wire.AnyOperation, now_ms: int) -> Outcome:
        incarnation = _incarnation()
        if incarnation is None:
            return apply(self, component, op, now_ms)
        incarnation.follow(self)
        outcome = apply(self, component, op, now_ms)
        incarnation.applied(self.state.now_ms, component, op, outcome.result, outcome.changes)
        return outcome

    def observed_advance(self: Tree, now_ms: int) -> TreeFacts:
        incarnation = _incarnation()
        if incarnation is None:
            return advance(self, now_ms)
        incarnation.follow(self)
        made = advance(self, now_ms)
        incarnation.applied(self.state.now_ms, "", None, None, made.changes)
        return made

    def observed_read(self: Clock, state: State, wall_ms: int, monotonic_ms: int) -> Reading:
        reading = read(self, state, wall_ms, monotonic_ms)
        incarnation = _incarnation()
        if incarnation is not None and reading.changes:
            incarnation.changed(state.now_ms, len(reading.changes))
        return reading

    with (
        patch.dict(vars(metrics), {name: _Uncounted() for name in vars(metrics) if name.startswith("LEDGER_")}),
        patch.object(Tree, "apply", observed_apply),
        patch.object(Tree, "advance", observed_advance),
        patch.object(Clock, "read", observed_read),
    ):
        yield


class _Uncounted:
    """A metric that counts nothing: a simulated ledger is no part of this process's figures."""

    def labels(self, *values: str) -> "_Uncounted":
        del values
        return self

    def inc(self) -> None:
        pass

    def observe(self, value: float) -> None:
        pass

    def set(self, value: float) -> None:
        pass


def _incarnation() -> Incarnation | None:
    process = CURRENT.get()
    return process.owner if process is not None and isinstance(process.owner, Incarnation) else None
