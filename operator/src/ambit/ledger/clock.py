"""The ledger's own time: the wall clock's, unless that jumps. Pure: what the clocks show is an argument.

Back: time stands still until the clock has caught up. Forward: a wall clock may be as far ahead as the *line*, and
`LARGEST_JUMP_MS` more, and by all its steps together no more than that in `CREEP_MS`. The line is the latest time that
was ever believed, carried on by the steady clock, which nobody sets: where a clock that stood still or was put back is
corrected, it comes back to the line. A clock that is ahead of it is doubted, and time goes by the line, so that no
window begins early, until the clock comes back, somebody accepts it, or a witness (a clock on another machine) shows as
late a time. A doubt is journalled: a restart is no way out.

A process that starts knows from the journal that it is at least as late as the last change. What the line was before is
carried over where the steady clock is still the same one: on the same boot of the same machine.
"""

from typing import NamedTuple

from ambit.ledger import changes
from ambit.ledger.state import State

LARGEST_JUMP_MS = 5 * 60 * 1000
CREEP_MS = 24 * 3600 * 1000
"""What small steps make room for comes back evenly, all of it in this time: 0.3 %, seven times what NTP may slew by."""
_STEADY_FOR_A_STEP = CREEP_MS // LARGEST_JUMP_MS


class Reading(NamedTuple):
    """The ledger's time, and what has to be journalled because of it."""

    now_ms: int
    changes: list[changes.AnyChange]


class Ahead(NamedTuple):
    """How far clocks are ahead of the steady one, in milliseconds: it stays the same while they all go alike."""

    line_ms: int
    witness_ms: int | None
    """None: the witness has not been heard."""
    crept_until_ms: int = 0
    """Until when, by the steady clock, steps that were believed leave less room for others."""


class Clock:
    """Makes the ledger's time of two clocks. `wall_ms` is since the epoch, `steady_ms` since any moment.

    `carried`: how they stood before a restart, where the steady clock still is the same one.
    """

    def __init__(self, state: State, wall_ms: int, steady_ms: int, carried: Ahead | None = None) -> None:
        self._now_ms = state.now_ms
        self._wall_ms = wall_ms
        """As it was last read, carried on like the line: what somebody accepts is what it showed, and no later jump."""
        self._steady_ms = steady_ms
        self._doubted = state.clock_doubted
        self._witness_ahead_ms = None if carried is None else carried.witness_ms
        self._crept_until_ms = 0 if carried is None else carried.crept_until_ms
        if carried is not None:
            self._line_ms = steady_ms + carried.line_ms
            if state.now_ms > self._line_ms:  # a step that was believed, and not noted any more
                self._step_to(state.now_ms)
        else:
            # Where nothing was ever counted, there is nothing that a wrong time could give back. Else it was away.
            away_ms = wall_ms - state.now_ms
            believed = not state.now_ms or 0 < away_ms <= LARGEST_JUMP_MS
            self._line_ms = wall_ms if believed else state.now_ms

    def is_ahead(self, wall_ms: int, steady_ms: int) -> bool:
        """Whether the wall clock is further ahead than is believed."""
        self._pass(steady_ms)
        return wall_ms - self._line_ms > LARGEST_JUMP_MS - self._crept_ms()

    def read(self, state: State, wall_ms: int, steady_ms: int) -> Reading:
        """The ledger's time. A doubt, or its end, is already part of `state`."""
        self._pass(steady_ms)
        if self._doubted and not state.clock_doubted:  # somebody accepted it
            self._line_ms = max(self._line_ms, self._wall_ms)
            self._witness_ahead_ms, self._crept_until_ms = None, 0
        ahead = self.is_ahead(wall_ms, steady_ms)
        made: list[changes.AnyChange] = []
        if ahead is not state.clock_doubted:
            at_ms = max(self._now_ms, state.now_ms)
            change = changes.ClockDoubted(max(at_ms, self._line_ms)) if ahead else changes.ClockTrusted(at_ms)
            state.evolve(change)
            made.append(change)
        self._doubted, self._wall_ms = ahead, wall_ms
        if not ahead and wall_ms > self._line_ms:
            self._step_to(wall_ms)
        self._now_ms = max(self._now_ms, state.now_ms, self._line_ms if ahead else wall_ms)
        return Reading(self._now_ms, made)

    def hear(self, witness_ms: int, wall_ms: int, steady_ms: int) -> None:
        """Takes a witness's time. What two clocks have reached is believed, and where they agree, it is the time.

        A witness that has itself jumped since it was last heard is none: it may well be on the same machine.
        """
        self._pass(steady_ms)
        ahead_ms = witness_ms - steady_ms
        if self._witness_ahead_ms is not None and ahead_ms - self._witness_ahead_ms > LARGEST_JUMP_MS:
            return
        self._witness_ahead_ms = ahead_ms
        both_ms = min(witness_ms, wall_ms)
        if max(witness_ms, wall_ms) - both_ms <= LARGEST_JUMP_MS:  # they agree
            self._line_ms, self._crept_until_ms = both_ms, 0
        else:
            self._line_ms = max(self._line_ms, both_ms)

    def ahead(self) -> Ahead:
        """What a later process can go on from, if its steady clock is the same one."""
        return Ahead(self._line_ms - self._steady_ms, self._witness_ahead_ms, self._crept_until_ms)

    def _crept_ms(self) -> int:
        """How far steps have lately brought the line, as far as it counts yet."""
        return -(-max(self._crept_until_ms - self._steady_ms, 0) // _STEADY_FOR_A_STEP)

    def _step_to(self, believed_ms: int) -> None:
        by_ms = believed_ms - self._line_ms
        self._line_ms = believed_ms
        self._crept_until_ms = max(self._crept_until_ms, self._steady_ms) + by_ms * _STEADY_FOR_A_STEP

    def _pass(self, steady_ms: int) -> None:
        elapsed_ms = max(steady_ms - self._steady_ms, 0)
        self._line_ms += elapsed_ms
        self._wall_ms += elapsed_ms
        self._steady_ms = max(self._steady_ms, steady_ms)
