"""One process of the ledger, from its start to its death, and what the oracle sees of it.

Each has a model of its own, made from the facts on the disk when it recovers, and asked about every operation that its
writer applies. One that stands by has followed the journal before it takes over.
"""

import asyncio
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple
from unittest.mock import patch

import msgspec

from ambit.ledger import wire
from ambit.ledger.changes import AnyChange
from ambit.ledger.clock import Clock, Reading
from ambit.ledger.dispatch import Dispatcher
from ambit.ledger.journal import Batch, BatchesGone, JournalError
from ambit.ledger.replay import Replay, from_snapshot
from ambit.ledger.state import State
from ambit.ledger.timekeeping import Timekeeper
from ambit.ledger.tree import Facts as TreeFacts
from ambit.ledger.tree import Outcome, Tree
from ambit.ledger.writer import LedgerStopped, Writer
from ambit.telemetry import metrics
from tests.ledger_simulation.disk import SimulatedStore
from tests.ledger_simulation.loop import CURRENT, Process
from tests.ledger_simulation.model import Fact, Model
from tests.ledger_simulation.model.facts import told
from tests.ledger_simulation.network import Refusing

if TYPE_CHECKING:
    from tests.ledger_simulation.cluster import Cluster

VERSION = 2
FOLLOW_S = 0.2
"""How often one that stands by looks at the journal."""


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

    async def live(self, stands_by_s: float) -> None:
        """Recovers, serves, and is over when the journal fails it. Before that it follows the journal for a while."""
        # The loop's clock is that of the machine's boot: it goes on whichever process runs.
        timekeeper = Timekeeper(self._cluster.wall_ms, notes=self._cluster.notes)
        writer = Writer(self.store, _nobody_listens, timekeeper, self._cluster.compact_after)
        try:
            await writer.recover(await self._follow_journal(stands_by_s) if stands_by_s else None)
            self.follow(writer.tree)
            self._dispatcher.writer = writer
            self.serving = True
            self.say("serves")
            await writer.run()
        except JournalError as error:
            self.say(f"ends: {error}")
        self.serving = False
        self._cluster.ended(self)

    async def _follow_journal(self, for_s: float) -> Replay:
        """What a standby does: it takes up each batch that is committed."""
        disk = self._cluster.disk
        ends_s = self._cluster.loop.time() + for_s
        replay = from_snapshot(disk)
        while self._cluster.loop.time() < ends_s:
            try:
                for batch in disk.batches(replay.sequence):
                    replay.take(batch)
            except BatchesGone:
                replay = from_snapshot(disk)
            await asyncio.sleep(FOLLOW_S)
        self.say(f"takes over from batch {replay.sequence}")
        return replay

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


def _nobody_listens(batch: Sequence[AnyChange]) -> None:
    pass


@contextmanager
def observed() -> Generator[None]:
    """While this lasts, whatever a tree does in a process of the ledger is told to its incarnation."""
    apply, advance, read = Tree.apply, Tree.advance, Clock.read

    def observed_apply(
        self: Tree, component: str, op: wire.AnyOperation, now_ms: int, *, settling_only: bool = False
    ) -> Outcome:
        incarnation = _incarnation()
        if incarnation is None:
            return apply(self, component, op, now_ms, settling_only=settling_only)
        incarnation.follow(self)
        outcome = apply(self, component, op, now_ms, settling_only=settling_only)
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

    def inc(self, amount: float = 1) -> None:
        pass

    def observe(self, value: float) -> None:
        pass

    def set(self, value: float) -> None:
        pass


def _incarnation() -> Incarnation | None:
    process = CURRENT.get()
    return process.owner if process is not None and isinstance(process.owner, Incarnation) else None
