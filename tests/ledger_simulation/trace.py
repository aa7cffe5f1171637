"""What happened, line by line: for people who look at a failed seed, and to show that a seed is always the same run."""

import hashlib
from collections.abc import Callable


class Trace:
    """Takes lines where somebody wants them. `wanted` is asked before a line is composed."""

    def __init__(self, time_s: Callable[[], float], write: Callable[[str], None] | None = None) -> None:
        self.wanted = write is not None
        self._time_s = time_s
        self._write = write

    def __call__(self, who: str, what: str) -> None:
        if self._write is not None:
            self._write(f"{self._time_s():14.6f}  {who:<12} {what}")


class Digest:
    """The hash of all lines of a trace."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.lines = 0

    def write(self, line: str) -> None:
        self.lines += 1
        self._hash.update(line.encode() + b"\n")

    def hexdigest(self) -> str:
        return self._hash.hexdigest()
