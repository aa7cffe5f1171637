"""A long step shows that it lives; a short one is silent."""

import io
import threading

import pytest

from e2e.cluster.progress import Progress, duration

HANGS_S = 60


class Said(io.StringIO):
    """What was said, and a way to wait until so many lines are there."""

    def __init__(self) -> None:
        super().__init__()
        self._more = threading.Condition()

    def write(self, text: str) -> int:
        with self._more:
            written = super().write(text)
            self._more.notify_all()
            return written

    def lines(self, at_least: int = 0) -> list[str]:
        with self._more:
            assert self._more.wait_for(lambda: self.getvalue().count("\n") >= at_least, HANGS_S), self.getvalue()
            return self.getvalue().splitlines()


def test_a_long_step_is_announced_goes_on_showing_signs_of_life_and_tells_its_time() -> None:
    said = Said()
    with Progress(said, show_after_s=0, alive_every_s=0.01).step("build it", "cold: about 8 min"):
        announced, *alive = said.lines(at_least=4)
    assert announced == "  … build it (cold: about 8 min)"
    assert all(line.startswith("  … build it, ") and line.endswith(" s so far") for line in alive)
    # What was expected is of no use any more when it is over.
    *_, last = said.lines()
    assert last.startswith("  ✓ build it  ")
    assert said.getvalue().count("about 8 min") == 1


def test_a_short_step_is_silent_unless_it_fails() -> None:
    said = Said()
    progress = Progress(said, show_after_s=HANGS_S)
    with progress.step("a"):
        pass
    assert said.lines() == []
    with pytest.raises(ZeroDivisionError), progress.step("b"):
        raise ZeroDivisionError
    assert [line.split("  ")[1] for line in said.lines()] == ["✗ b"]


@pytest.mark.parametrize(("seconds", "text"), [(0.04, "0.0 s"), (59.94, "59.9 s"), (501, "8 min 21 s")])
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text
