"""Progress for people: a line for each step, with its time, and a sign of life while a step is long."""

import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import TextIO

SHOW_AFTER_S = 1.0
ALIVE_EVERY_S = 30.0


class Progress:
    """Writes to stderr, so that a command's output stays its own. Steps may run in several threads."""

    def __init__(
        self, stream: TextIO = sys.stderr, show_after_s: float = SHOW_AFTER_S, alive_every_s: float = ALIVE_EVERY_S
    ) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._show_after_s = show_after_s
        self._alive_every_s = alive_every_s

    def say(self, line: str) -> None:
        with self._lock:
            print(line, file=self._stream, flush=True)

    @contextmanager
    def step(self, what: str, expected: str = "") -> Generator[None]:
        """Announces `what`, and how long it is `expected` to take, once it has taken a second; says every half minute
        that it goes on; and says its time at its end. Shorter steps stay silent.
        """
        started = time.monotonic()
        over = threading.Event()
        announced = f"{what} ({expected})" if expected else what
        company = threading.Thread(target=self._accompany, args=(announced, what, started, over), daemon=True)
        company.start()
        outcome = "✗"
        try:
            yield
            outcome = "✓"
        finally:
            over.set()
            company.join()  # its last word comes before ours
            seconds = time.monotonic() - started
            if seconds >= self._show_after_s or outcome == "✗":
                self.say(f"  {outcome} {what}  {duration(seconds)}")

    def _accompany(self, announced: str, what: str, started: float, over: threading.Event) -> None:
        if over.wait(self._show_after_s):
            return
        self.say(f"  … {announced}")
        while not over.wait(self._alive_every_s):
            self.say(f"  … {what}, {duration(time.monotonic() - started)} so far")


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60} s"
