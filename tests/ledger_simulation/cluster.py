"""The ledger's processes: one writes, may be killed at any of its awaits or stopped, and another takes over."""

import asyncio
import traceback
from collections.abc import Callable
from random import Random

from ambit.ledger.clock import Ahead
from ambit.ledger.tree import Tree
from tests.ledger_simulation.disk import Disk
from tests.ledger_simulation.faults import Faults
from tests.ledger_simulation.incarnation import Facts, Incarnation
from tests.ledger_simulation.loop import Process, SimulatedLoop
from tests.ledger_simulation.model import Model
from tests.ledger_simulation.network import Answer
from tests.ledger_simulation.setting import Setting
from tests.ledger_simulation.trace import Trace

RESTART_S = 0.2
SMALL_JUMP_MS = 5 * 60 * 1000
"""Of the wall clock: believed without a word."""
TAKEOVER_S = 3.0
"""How long after the writer fell silent another process takes over: longer than the writer's lease."""


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
        """How far the latest time is that the ledger may have believed: each step of the clock that is small."""
        self._accepted_off_ms = 0
        """How far it was when somebody last said that it is right."""
        self.incarnations: list[Incarnation] = []
        self.down = False
        """There is no disk to start over."""
        self.disconnected: list[Callable[[Process], None]] = []
        """Told when the connections of a process break."""

    def wall_ms(self) -> int:
        """The wall clock of the machines that the ledger runs on."""
        return self.setting.begins_ms + self.clock_off_ms + int(self.loop.time() * 1000)

    def jump(self, by_ms: int) -> None:
        """The wall clock is set, forward or back."""
        self.clock_off_ms += by_ms
        if self.clock_off_ms - self._trusted_off_ms <= SMALL_JUMP_MS:
            self._trusted_off_ms = max(self._trusted_off_ms, self.clock_off_ms)

    def clock_accepted(self) -> None:
        """The wall clock as it stands is right."""
        self._trusted_off_ms = max(self._trusted_off_ms, self.clock_off_ms)
        self._accepted_off_ms = max(self._accepted_off_ms, self.clock_off_ms)

    def latest_ms(self) -> int:
        """What the ledger's clock may show at the most: a doubted jump begins no window."""
        true_ms = self.setting.begins_ms + int(self.loop.time() * 1000)
        days = int(self.loop.time() // 86_400) + 1
        # However many small steps there were: one such jump, and another for each day in which their room came back.
        crept_ms = self._accepted_off_ms + SMALL_JUMP_MS * (days + 1)
        return true_ms + min(self._trusted_off_ms, crept_ms) + 1

    def lose_disk(self, disk: Disk[Facts], outage_s: float) -> None:
        """Every process ends, and after a while another one starts over another disk."""
        self.down = True
        for incarnation in self.incarnations:
            self._killed(incarnation)
        self.disk = disk
        self.loop.later(outage_s, self._up)

    def _up(self) -> None:
        self.down = False
        self.start()

    def start(self, stands_by_s: float = 0.0) -> None:
        """Another process of the ledger starts, and takes over: at once, or after it has stood by for a while."""
        if self.down:
            return
        incarnation = Incarnation(f"ledger-{len(self.incarnations) + 1}", self)
        self.incarnations.append(incarnation)
        self.loop.spawn(incarnation.process, incarnation.live(stands_by_s), "ledger").add_done_callback(self._no_defect)

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
        if self.random.random() < 0.5:
            self.start(TAKEOVER_S)
        else:
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
