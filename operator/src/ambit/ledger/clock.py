"""The ledger's own time: the wall clock's, unless that jumps.

Back: time stands still until the clock has caught up. Forward by more than `LARGEST_JUMP_MS` against the monotonic
clock: the clock is doubted, and time goes on by the monotonic one, so that no window begins early. It is trusted again
once somebody accepts it, or once it comes back to where the ledger is. A doubt is journalled: a restart is no way out.
"""

from typing import NamedTuple

from ambit.ledger import changes
from ambit.ledger.state import State

LARGEST_JUMP_MS = 5 * 60 * 1000


class Reading(NamedTuple):
    """The ledger's time, and what has to be journalled because of it."""

    now_ms: int
    changes: list[changes.AnyChange]


class Clock:
    """Makes the ledger's time of two clocks. `wall_ms` is since the epoch, `monotonic_ms` since any moment."""

    def __init__(self, wall_ms: int, monotonic_ms: int) -> None:
        self._now_ms = wall_ms
        self._monotonic_ms = monotonic_ms
        self._begun = self._doubted = False

    def read(self, state: State, wall_ms: int, monotonic_ms: int) -> Reading:
        """The ledger's time. A doubt, or its end, is already part of `state`."""
        if not self._begun:
            # What was journalled may be ahead of the clock; while it is doubted, it is all that is known.
            self._begun = True
            self._now_ms = state.now_ms if state.clock_doubted else max(self._now_ms, state.now_ms)
        expected_ms = max(self._now_ms, state.now_ms) + max(monotonic_ms - self._monotonic_ms, 0)
        self._monotonic_ms = monotonic_ms
        accepted = self._doubted and not state.clock_doubted
        ahead_ms = 0 if accepted else wall_ms - expected_ms
        made: list[changes.AnyChange] = []
        if state.clock_doubted and ahead_ms <= LARGEST_JUMP_MS:
            made.append(changes.ClockTrusted(expected_ms))
        elif not state.clock_doubted and ahead_ms > LARGEST_JUMP_MS:
            made.append(changes.ClockDoubted(expected_ms))
        for change in made:
            state.evolve(change)
        self._doubted = state.clock_doubted
        self._now_ms = expected_ms if state.clock_doubted else max(self._now_ms, wall_ms)
        return Reading(self._now_ms, made)
