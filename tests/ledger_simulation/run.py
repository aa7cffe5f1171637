"""One seed: the world is made, goes wrong for a while, calms down, and is looked at."""

import asyncio
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from ambit.ledger.amounts import Vector, covers, plus, split
from ambit.ledger.tree import Tree
from ambit.ledger.views import usage
from tests.ledger_simulation.books import Books
from tests.ledger_simulation.cluster import Cluster
from tests.ledger_simulation.edits import Operator
from tests.ledger_simulation.faults import Faults
from tests.ledger_simulation.holders import Holder, Shared
from tests.ledger_simulation.loop import Process, SimulatedLoop, StalledError
from tests.ledger_simulation.model import Model, differences
from tests.ledger_simulation.network import Network
from tests.ledger_simulation.restoring import OUTAGE_S, Backup, Restorer, backed_up, loss_of, restored
from tests.ledger_simulation.setting import LEAPS_S, Setting, pick
from tests.ledger_simulation.settled import leftovers, wrong_records
from tests.ledger_simulation.trace import Trace
from tests.ledger_simulation.workload import Gateway

LEAST_OPERATIONS, MOST_OPERATIONS = 100, 300
LEAP = 0.02
"""How often an operation is followed by a time in which nothing happens."""
JUMPS_MS = (-86_400_000, -60_000, -1, 1, 60_000, 240_000, 360_000, 86_400_000)
STEPS_PER_OPERATION = 400
"""Of the loop: more is taken for a run that does not end."""
CALM_S = 120.0
"""When nothing goes wrong any more, everything that is under way is over within this time."""


class Violation(AssertionError):
    """A rule is broken."""

    def __init__(self, seed: int, what: str) -> None:
        super().__init__(f"seed {seed}: {what}")
        self.seed = seed
        self.what = what


@dataclass(frozen=True, slots=True)
class Report:
    """What a seed came to."""

    seed: int
    operations: int
    steps: int
    incarnations: int


class Simulation:
    """The run of one seed."""

    def __init__(self, seed: int, write: Callable[[str], None] | None = None) -> None:
        self._seed = seed
        self._random = random = Random(seed)
        disorder = 0.0 if random.random() < 0.3 else random.random() * 0.3
        self._loop = SimulatedLoop(Random(random.getrandbits(64)), disorder)
        self._trace = Trace(self._loop.time, write)
        self._setting = Setting.of_seed(random)
        self._faults = Faults.of_seed(random)
        self._books = Books()
        self._operations = 0
        self._wanted = LEAST_OPERATIONS + int(random.random() * (MOST_OPERATIONS - LEAST_OPERATIONS))
        self._failed: str | None = None
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._under_way: dict[Process, int] = {}
        self._leap_s: float | None = None
        self.restores = 0
        self._backup: Backup | None = None
        self._loss = loss_of(Random(f"loss {seed}"), self._wanted) if self._setting.scale == 1 else None
        self._quiet: asyncio.Event = asyncio.Event()
        self._quiet.set()
        self._holders: list[tuple[Holder, asyncio.Task[None]]] = []
        self._cluster = Cluster(
            self._loop, self._setting, self._faults, random, self._trace, self.fail, self._recovered
        )
        self._network = Network(self._loop, self._faults, random, self._trace, self._cluster.reach)
        self._cluster.disconnected.append(self._network.disconnected)
        late = Random(f"late {seed}")
        self._shared = Shared(self, self._setting, self._books, random, [], [], asyncio.Event(), late)

    def run(self) -> Report:
        """Raises Violation."""
        try:
            living = self._loop.spawn_outside(self._live())
            living.add_done_callback(lambda task: task.cancelled() or task.exception() is None or self._end())
            with self._setting.small_steps():
                self._loop.run(self._over, MOST_OPERATIONS * STEPS_PER_OPERATION)
            if living.done():
                living.result()
        except StalledError as error:
            raise Violation(self._seed, f"no progress: {error}") from error
        finally:
            self._loop.end()
        if self._failed is not None:
            raise Violation(self._seed, self._failed)
        if self._loop.errors:
            raise Violation(self._seed, f"nobody caught {self._loop.errors[0]!r}") from self._loop.errors[0]
        return Report(self._seed, self._operations, self._loop.steps, len(self._cluster.incarnations))

    async def _live(self) -> None:
        if self._trace.wanted:
            self.say("run", f"{self._setting} {self._faults}")
        self._cluster.start()
        operator = Operator("operator", "operator", self._shared, self._network)
        self._holders.append((operator, self._loop.spawn(operator.process, operator.live(), "operator")))
        for number in range(1 + int(self._random.random() * 3)):
            self._add_gateway(f"gateway-{number + 1}")
        try:
            async with asyncio.timeout(None) as patience:
                self._patience = patience
                for holder, task in self._holders:  # it grows while this waits
                    while holder.process.alive and not task.done():
                        await asyncio.wait([task], timeout=1.0)
                    if task.done():
                        task.result()
        except TimeoutError:
            self.fail(f"nothing goes wrong any more, and after {CALM_S} s operations are still under way")
            return
        await self._settle_down()
        self._end()

    def _end(self) -> None:
        if not self._over.done():
            self._over.set_result(None)

    def _add_gateway(self, name: str) -> None:
        gateway = Gateway(name, "gateway", self._shared, self._network)
        callers = 3 + int(self._random.random() * 10)
        self._holders.append((gateway, self._loop.spawn(gateway.process, gateway.live(callers), name)))

    # -- what the run is to its holders

    def more(self) -> bool:
        if self._operations < self._wanted:
            return True
        if self._patience.when() is None:
            self.say("run", "nothing goes wrong any more")
            self._faults.stop()
            self._patience.reschedule(self._loop.time() + CALM_S)
        return False

    async def turn(self, process: Process) -> None:
        await self._quiet.wait()
        self._operations += 1
        self._under_way[process] = self._under_way.get(process, 0) + 1
        self._something_goes_wrong()

    def done(self, process: Process) -> None:
        if process in self._under_way:  # it may have been killed
            self._under_way[process] -= 1
        if self._leap_s is not None and not any(self._under_way.values()):
            self._leap()

    def fail(self, what: str) -> None:
        if self._failed is None:
            self._failed = what
            self.say("run", f"VIOLATION: {what}")
            self._end()

    def was_folded(self, session: str) -> bool:
        return any(session in each.model.folded for each in self._cluster.incarnations)

    def say(self, who: str, what: str) -> None:
        if self._trace.wanted:
            self._trace(who, what)

    # -- what happens to it

    def _something_goes_wrong(self) -> None:
        faults, random = self._faults, self._random.random
        if random() < LEAP and self._leap_s is None:
            self._leap_s = pick(self._random, LEAPS_S)
            if random() < 0.2:
                self._leap()
            else:
                self._quiet.clear()
        if faults.ledger_dies and random() < faults.ledger_dies:
            self._cluster.kill_soon()
        if faults.ledger_stops and random() < faults.ledger_stops:
            self._cluster.stop_for_a_while()
        if faults.clock_jumps and random() < faults.clock_jumps:
            by_ms = pick(self._random, JUMPS_MS)
            self.say("run", f"the wall clock jumps by {by_ms} ms")
            self._cluster.jump(by_ms)
        if self._loss is not None:
            self._lose_disk(self._loss)
        if faults.holder_dies and random() < faults.holder_dies:
            self._kill_holder()

    def _lose_disk(self, loss: tuple[int, int]) -> None:
        backed_up_at, lost_at = loss
        if self._backup is None and self._operations >= backed_up_at and self._shared.ready.is_set():
            self._backup = backed_up(self._cluster.disk)
            self.say("run", f"a backup is made of {len(self._backup.history)} batches")
        elif self._backup is not None and self._operations >= lost_at:
            self._loss = None
            self._loop.spawn_outside(self._restore(self._backup)).add_done_callback(self._restored)

    async def _restore(self, kept: Backup) -> None:
        cluster, setting = self._cluster, self._setting
        before = Model(setting.windows, setting.at_once)
        for each in cluster.disk.history:
            before.replay(each.facts)
        self.say("run", f"the disk dies after {len(cluster.disk.history)} batches, and the backup is restored")
        self.restores += 1
        cluster.lose_disk(restored(kept), OUTAGE_S)
        self._books.denied.clear()  # what was told since the backup is forgotten with the disk
        newest = cluster.incarnations[-1]
        while not newest.serving:
            await asyncio.sleep(0.1)
            newest = cluster.incarnations[-1]
        restorer = Restorer("restorer", "operator", self._shared, self._network)
        resuming = restorer.resume(before, newest.model)
        self._holders.append((restorer, self._loop.spawn(restorer.process, resuming, "restorer")))

    def _restored(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.fail("the restore broke down: " + "".join(traceback.format_exception(error)))

    def _leap(self) -> None:
        if self._leap_s is None:
            return
        self.say("run", f"{self._leap_s} s pass")
        self._loop.leap(self._leap_s)
        if self._patience.when() is not None:
            self._patience.reschedule(self._loop.time() + CALM_S)
        self._leap_s = None
        self._quiet.set()

    def _kill_holder(self) -> None:
        living = [each for each, _ in self._holders if each.process.alive and isinstance(each, Gateway)]
        holder = pick(self._random, living)
        self.say(holder.process.name, "killed")
        holder.process.alive = False
        self._under_way.pop(holder.process, None)
        self._add_gateway(f"{holder.process.name}'")
        if self._leap_s is not None and not any(self._under_way.values()):
            self._leap()

    # -- what is looked at

    def _recovered(self, tree: Tree, model: Model) -> None:
        """The tree after a crash is the one that the facts on the disk make, and covers what holders did."""
        for account in model.accounts.values():
            recovered = tree.state.accounts.get(account.path)
            if recovered is not None:
                for problem in differences(model, account, usage(tree.state, recovered, tree.state.now_ms)):
                    self.fail(f"after recovery, {problem}")
            else:
                self.fail(f"after recovery, {account.path} is forgotten")
        for path, surely in () if model.restoring else self._surely(model).items():
            if path in model.folded:
                continue
            at = model.accounts[path].running[0]
            lowered = model.accounts[path].lowered
            counted: Vector = {
                index: spent + held + lowered.get(index, 0)
                for index, (spent, held) in enumerate(zip(at.spent, at.held, strict=True))
            }
            if not covers(counted, surely):
                self.fail(f"{path} counts {counted}, and {surely} was used")

    def _surely(self, model: Model) -> dict[str, Vector]:
        found: dict[str, Vector] = {}
        for act in self._books.acts:
            hold = model.holds.get(act.id)
            if hold is None and not act.lost:
                self.fail(f"{act.id} was granted and acknowledged, and is forgotten")
            for account in () if hold is None else hold.chain:
                found[account.path] = plus(found.get(account.path, {}), act.surely_itself())
            for path in act.told_at:
                found[path] = plus(found.get(path, {}), split(act.surely(), act.told)[0])
        return found

    def _look_for_orphans(self, model: Model) -> None:
        """Nothing is held, or charged, that nobody knows to be his."""
        for hold_id, told in self._books.denied.items():
            hold = model.holds.get(hold_id)
            if hold is not None and not model.holders.may_be_forgotten(hold, model.now_ms):
                self.fail(f"something was held by {hold_id}, and whoever asked for it was told {told}")

    async def _settle_down(self) -> None:
        """Everything expires: nothing is held any more."""
        self._look_for_orphans(self._cluster.incarnations[-1].model)
        # A clock that was put back stands still until it has caught up.
        behind_ms = max(self._cluster.incarnations[-1].model.now_ms - self._cluster.wall_ms(), 0)
        for by_s in (2.0, 86400.0 * 2 + behind_ms / 1000, 2.0):
            self._loop.leap(by_s)
            await asyncio.sleep(2.0)
        newest = self._cluster.incarnations[-1]
        while not newest.serving:
            await asyncio.sleep(1.0)
            newest = self._cluster.incarnations[-1]
        tree, model = newest.tree, newest.model
        if tree is None:
            self.fail("the last ledger applied nothing")
            return
        self._recovered(tree, model)  # it turns every account's windows
        for problem in (*wrong_records(self._cluster.disk.kept_records, tree, model), *leftovers(tree, model)):
            self.fail(problem)
