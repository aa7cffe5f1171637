"""The ledger's time: it never goes back, and takes no leap before somebody has looked at it."""

import pytest

from ambit.ledger import wire
from ambit.ledger.amounts import Window
from ambit.ledger.clock import LARGEST_JUMP_MS, Ahead, Clock
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
    """A ledger that reads two clocks, which the test moves, as it can what the witness shows."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.wall_ms, self.monotonic_ms = NOON_MS, 77
        self.clock = Clock(ledger.tree.state, self.wall_ms, self.monotonic_ms)

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

    def hear(self, witness_ms: int) -> None:
        """The witness shows this time."""
        self.clock.hear(witness_ms, self.wall_ms, self.monotonic_ms)

    def restart(self, away_ms: int = 0) -> None:
        """The process ends, and after a while another on the same boot replays the journal."""
        self.wall_ms += away_ms
        self.monotonic_ms += away_ms
        self.restart_from(self.clock.ahead())

    def restart_from(self, noted: Ahead) -> None:
        """Likewise, at once, with what was noted at some time before."""
        self.ledger.restart(self.ledger.replayed())
        self.clock = Clock(self.state, self.wall_ms, self.monotonic_ms, noted)

    def move(self, away_ms: int = 0) -> None:
        """Likewise, on another machine: its monotonic clock says something else."""
        self.ledger.restart(self.ledger.replayed())
        self.wall_ms += away_ms
        self.monotonic_ms = 5
        self.clock = Clock(self.state, self.wall_ms, self.monotonic_ms)


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


def test_a_jump_after_the_clock_was_accepted_is_not_accepted_with_it(clocked: Clocked) -> None:
    clocked.pass_time(NIGHT_MS, 50)
    clocked.ledger.do(wire.AcceptClock("NTP was off", "ada"), "operator")
    shown_ms = clocked.wall_ms
    assert clocked.pass_time(LARGEST_JUMP_MS + MINUTE_MS, 10) == shown_ms + 10
    assert clocked.state.clock_doubted


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


@pytest.mark.parametrize("away_ms", [1000, NIGHT_MS])
def test_a_clock_that_jumped_while_the_ledger_was_away_is_doubted(clocked: Clocked, away_ms: int) -> None:
    clocked.wall_ms += 2 * NIGHT_MS
    clocked.restart(away_ms)
    # The boot's clock says how long it was away: over midnight, or not.
    assert clocked.pass_time(0) == NOON_MS + away_ms
    assert clocked.state.clock_doubted
    assert admits(clocked) is (away_ms == NIGHT_MS)


def test_a_ledger_that_was_away_goes_on_where_the_boots_clock_has_got_to(clocked: Clocked) -> None:
    clocked.restart(NIGHT_MS)
    assert clocked.pass_time(0) == NOON_MS + NIGHT_MS
    assert not clocked.state.clock_doubted
    assert admits(clocked)


def test_on_another_machine_nothing_but_the_journal_is_believed(clocked: Clocked) -> None:
    clocked.move(NIGHT_MS)
    assert clocked.pass_time(0) == NOON_MS
    assert clocked.state.clock_doubted
    assert not admits(clocked)
    clocked.move()
    assert clocked.pass_time(1000) == NOON_MS + 1000, "nor after the next restart"
    assert not admits(clocked)
    clocked.ledger.do(wire.AcceptClock("it was moved", "ada"), "operator")
    assert clocked.pass_time(1) == clocked.wall_ms
    assert admits(clocked)


def test_a_short_time_away_is_believed_on_another_machine(clocked: Clocked) -> None:
    clocked.move(LARGEST_JUMP_MS)
    assert clocked.pass_time(0) == NOON_MS + LARGEST_JUMP_MS
    assert not clocked.state.clock_doubted


def test_a_witness_that_shows_the_same_time_ends_the_doubt(clocked: Clocked) -> None:
    clocked.move(NIGHT_MS)
    clocked.hear(clocked.wall_ms - 900)
    assert clocked.pass_time(0) == clocked.wall_ms
    assert not clocked.state.clock_doubted
    assert admits(clocked)


def test_where_the_witness_shows_an_earlier_time_windows_begin_by_that(clocked: Clocked) -> None:
    clocked.move(2 * NIGHT_MS)
    clocked.hear(NOON_MS + HOUR_MS)
    assert clocked.pass_time(0) == NOON_MS + HOUR_MS
    assert clocked.state.clock_doubted
    assert not admits(clocked)
    clocked.pass_time(NIGHT_MS)
    assert clocked.state.clock_doubted
    assert admits(clocked), "midnight has truly passed"


def test_a_late_witness_alone_begins_no_window(clocked: Clocked) -> None:
    clocked.hear(NOON_MS + NIGHT_MS)
    assert clocked.pass_time(1) == NOON_MS + 1
    clocked.pass_time(NIGHT_MS, 1)
    clocked.hear(NOON_MS + NIGHT_MS + 1)
    assert clocked.pass_time(0) == NOON_MS + NIGHT_MS + 1, "now both have got there"


def test_a_witness_that_jumps_along_is_none(clocked: Clocked) -> None:
    clocked.hear(NOON_MS)
    clocked.wall_ms += NIGHT_MS
    clocked.pass_time(0)
    clocked.hear(clocked.wall_ms)
    clocked.pass_time(1000)
    assert clocked.state.clock_doubted
    assert not admits(clocked)
    clocked.restart(1000)
    clocked.hear(clocked.wall_ms)
    clocked.pass_time(0)
    assert not admits(clocked), "nor after a restart on that machine"


def test_a_clock_that_stood_still_is_believed_once_it_is_corrected(clocked: Clocked) -> None:
    for _ in range(60):
        assert clocked.pass_time(0, MINUTE_MS) == NOON_MS
    assert clocked.pass_time(HOUR_MS, 0) == NOON_MS + HOUR_MS
    assert not clocked.state.clock_doubted
    for _ in range(12 * 60):
        clocked.pass_time(0, MINUTE_MS)
    clocked.pass_time(NIGHT_MS, 0)
    assert clocked.state.clock_doubted, "an hour more than it stood still"


def test_a_clock_that_was_put_back_and_is_put_right_is_believed(clocked: Clocked) -> None:
    clocked.pass_time(-NIGHT_MS, MINUTE_MS)
    clocked.pass_time(HOUR_MS)
    assert clocked.pass_time(NIGHT_MS, 0) == NOON_MS + HOUR_MS
    assert not clocked.state.clock_doubted


def test_a_clock_that_was_ahead_may_not_jump_there_again_once_the_witness_has_seen_it_right(clocked: Clocked) -> None:
    clocked.ledger.pass_time(NIGHT_MS)
    clocked.ledger.budget(a_limit(1, Window.DAY), parent=ORGANISATION)
    clocked.move()
    assert clocked.pass_time(0) == NOON_MS + NIGHT_MS, "it stands still, as far ahead as it was"
    clocked.hear(clocked.wall_ms)
    clocked.pass_time(NIGHT_MS, 1)
    assert clocked.state.clock_doubted


def test_a_clock_that_was_behind_at_the_start_stands_still(clocked: Clocked) -> None:
    clocked.ledger.pass_time(HOUR_MS)
    clocked.ledger.budget(a_limit(2, Window.DAY), parent=ORGANISATION)
    clocked.move()
    assert clocked.pass_time(10) == NOON_MS + HOUR_MS


def test_only_the_operator_accepts_a_clock() -> None:
    ledger = a_ledger()
    assert isinstance(ledger.do(wire.AcceptClock("why", "ada")), wire.Forbidden)
    assert ledger.do(wire.AcceptClock("why", "ada"), "operator") == wire.ClockAccepted()
    assert ledger.usage(TEAM).state is wire.State.OPEN


def test_many_small_steps_take_no_window_that_one_leap_would_not() -> None:
    clocked = Clocked(a_ledger())
    clocked.pass_time(0)
    began_ms = clocked.ledger.now_ms
    for _ in range(200):  # four minutes at a time, a second apart
        clocked.pass_time(4 * MINUTE_MS, 1000)
    assert clocked.state.clock_doubted
    assert clocked.ledger.now_ms - began_ms <= 200 * 1000 + LARGEST_JUMP_MS


def test_what_a_small_step_takes_comes_back_evenly_over_a_day() -> None:
    clocked = Clocked(a_ledger())
    clocked.pass_time(4 * MINUTE_MS, 0)
    clocked.pass_time(4 * MINUTE_MS, 0)
    assert clocked.state.clock_doubted
    clocked.pass_time(14 * HOUR_MS)
    assert clocked.state.clock_doubted
    clocked.pass_time(HOUR_MS)
    assert not clocked.state.clock_doubted


def test_a_clock_that_is_slewed_is_never_doubted() -> None:
    clocked = Clocked(a_ledger())
    for _ in range(3 * 24):
        clocked.pass_time(HOUR_MS + HOUR_MS // 2000, HOUR_MS)  # 500 ppm, the most that NTP does
    assert not clocked.state.clock_doubted


@pytest.mark.parametrize("noted", [True, False])
def test_restarts_between_small_steps_are_no_way_round(noted: bool) -> None:
    clocked = Clocked(a_ledger())
    clocked.pass_time(0)
    began_ms, note = clocked.ledger.now_ms, clocked.clock.ahead()
    for number in range(20):
        clocked.pass_time(MINUTE_MS, 1000)
        clocked.ledger.budget(path=f"budget/n/b-{number}")  # something is journalled at that time
        note = clocked.clock.ahead() if noted else note
        clocked.restart_from(note)
    clocked.pass_time(0)
    assert clocked.state.clock_doubted
    assert clocked.ledger.now_ms - began_ms <= 20 * 1000 + LARGEST_JUMP_MS


def test_what_a_witness_bears_out_leaves_room_for_other_steps() -> None:
    clocked = Clocked(a_ledger())
    clocked.pass_time(4 * MINUTE_MS, 0)
    clocked.hear(clocked.wall_ms)
    clocked.pass_time(4 * MINUTE_MS, 0)
    assert not clocked.state.clock_doubted
