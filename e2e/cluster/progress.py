"""Progress for people: a line for each step, with its time, and a sign of life while a step is long."""

import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import TextIO

SHOW_AFTER_S = 1.0


class Progress:
    """Writes to stderr, so that a command's output stays its own. Steps may run in several threads."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def say(self, line: str) -> None:
        with self._lock:
            print(line, file=self._stream, flush=True)

    @contextmanager
    def step(self, what: str) -> Generator[None]:
        """Announces `what` once it has taken a second, and its time at its end. Shorter steps stay silent."""
        announce = threading.Timer(SHOW_AFTER_S, self.say, [f"  … {what}"])
        announce.daemon = True
        announce.start()
        started = time.monotonic()
        outcome = "✗"
        try:
            yield
            outcome = "✓"
        finally:
            announce.cancel()
            seconds = time.monotonic() - started
            if seconds >= SHOW_AFTER_S or outcome == "✗":
                self.say(f"  {outcome} {what}  {duration(seconds)}")


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60} s"
