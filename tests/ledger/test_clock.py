"""The ledger's time: it never goes back, and takes no leap before somebody has looked at it."""

import pytest

from ambit.ledger import wire
from ambit.ledger.amounts import Window
from ambit.ledger.clock import LARGEST_JUMP_MS, Clock
from ambit.ledger.state import State
from tests.ledger.builders import (
    HOUR_MS,
    MINUTE_MS,
    NOON_MS,
    ORGANISATION,
    TEAM,
    Ledger,
    a_ledger,
    a_limit,
    calls,
)

NIGHT_MS = 13 * HOUR_MS
"""From noon to after midnight."""


class Clocked:
    """A ledger that reads two clocks, which the test moves."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.wall_ms, self.monotonic_ms = NOON_MS, 77
        self.clock = Clock(self.wall_ms, self.monotonic_ms)

    @property
    def state(self) -> State:
        return self.ledger.tree.state

    def pass_time(self, wall_ms: int, monotonic_ms: int | None = None) -> int:
        """Moves both clocks alike, unless said otherwise; the ledger's time."""
        self.wall_ms += wall_ms
        self.monotonic_ms += wall_ms if monotonic_ms is None else monotonic_ms
        reading = self.clock.read(self.state, self.wall_ms, self.monotonic_ms)
        self.ledger.note(reading.changes)
        self.ledger.now_ms = reading.now_ms
        return reading.now_ms

    def restart(self) -> None:
        """The process ends and another replays the journal. Its monotonic clock says something else."""
        self.ledger.restart(self.ledger.replayed())
        self.monotonic_ms = 5
        self.clock = Clock(self.wall_ms, self.monotonic_ms)


@pytest.fixture
def clocked() -> Clocked:
    clocked = Clocked(a_ledger(a_limit(1, Window.DAY)))
    clocked.pass_time(0)
    clocked.ledger.reserve(calls(1), hold="g#1")
    clocked.ledger.settle(calls(1), "g#1")
    return clocked


def admits(clocked: Clocked) -> bool:
    return isinstance(clocked.ledger.reserve(calls(1), path="session/team-a/s-1"), wire.Granted)


def test_time_goes_by_the_wall_clock(clocked: Clocked) -> None:
    assert clocked.pass_time(1234) == NOON_MS + 1234
    assert clocked.pass_time(HOUR_MS) == NOON_MS + 1234 + HOUR_MS
    assert clocked.pass_time(LARGEST_JUMP_MS, 0) == NOON_MS + 1234 + HOUR_MS + LARGEST_JUMP_MS, "small steps are usual"


def test_time_stands_still_while_the_clock_is_behind(clocked: Clocked) -> None:
    assert clocked.pass_time(-HOUR_MS, 10) == NOON_MS
    assert clocked.pass_time(HOUR_MS - 1) == NOON_MS
    assert clocked.pass_time(5) == NOON_MS + 4


def test_a_jump_forward_begins_no_window_until_it_is_accepted(clocked: Clocked) -> None:
    assert clocked.pass_time(NIGHT_MS, 50) == NOON_MS + 50
    assert not admits(clocked)
    assert clocked.pass_time(MINUTE_MS) == NOON_MS + 50 + MINUTE_MS, "time goes on by the other clock"
    assert not admits(clocked)
    accepted = clocked.ledger.do(wire.AcceptClock("NTP was off", "ada"), "operator")
    assert accepted == wire.ClockAccepted()
    assert clocked.pass_time(1) == clocked.wall_ms
    assert admits(clocked)


def test_a_restart_is_no_way_round_the_doubt(clocked: Clocked) -> None:
    clocked.pass_time(NIGHT_MS, 50)
    clocked.restart()
    assert clocked.pass_time(1000) == NOON_MS + 50 + 1000
    assert not admits(clocked)
    clocked.ledger.restart(clocked.ledger.through_snapshot())
    assert clocked.state.clock_doubted


def test_a_clock_that_comes_back_is_trusted_again(clocked: Clocked) -> None:
    clocked.pass_time(NIGHT_MS, 50)
    assert clocked.pass_time(-NIGHT_MS, 50) == NOON_MS + 50
    assert not clocked.state.clock_doubted
    assert clocked.pass_time(1000) == NOON_MS + 1000


def test_a_ledger_that_was_away_takes_the_time_as_it_finds_it(clocked: Clocked) -> None:
    clocked.wall_ms += NIGHT_MS
    clocked.restart()
    assert clocked.pass_time(0) == NOON_MS + NIGHT_MS
    assert admits(clocked)


def test_a_clock_that_was_behind_at_the_start_stands_still(clocked: Clocked) -> None:
    clocked.ledger.pass_time(HOUR_MS)
    clocked.ledger.budget(a_limit(2, Window.DAY), parent=ORGANISATION)
    clocked.restart()
    assert clocked.pass_time(10) == NOON_MS + HOUR_MS


def test_only_the_operator_accepts_a_clock() -> None:
    ledger = a_ledger()
    assert isinstance(ledger.do(wire.AcceptClock("why", "ada")), wire.Forbidden)
    assert ledger.do(wire.AcceptClock("why", "ada"), "operator") == wire.ClockAccepted()
    assert ledger.usage(TEAM).state is wire.State.OPEN
