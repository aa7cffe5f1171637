"""Which cluster the demo is on, and programs that run beside it."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from e2e.cluster.cli import provider_of
from e2e.cluster.errors import ClusterError
from e2e.cluster.provider import Provider
from e2e.images.catalogue import REPOSITORY

AMBIT: Final = str(Path(sys.executable).parent / "ambit")


@dataclass(eq=False)
class DemoFailed(ClusterError):
    """A step could not be done. `str()` is the message, complete in itself."""

    what: str

    def __str__(self) -> str:
        return self.what


@dataclass(frozen=True, slots=True)
class Cluster:
    """Which cluster is meant: its name, and who provides it (one of `e2e.cluster.provider.PROVIDERS`)."""

    name: str
    provided_by: str

    @property
    def provider(self) -> Provider:
        return provider_of(self.name, self.provided_by)


class Lines:
    """A command that runs beside others: its lines are kept, and handed on as they come."""

    def __init__(self, command: list[str], environment: Mapping[str, str], on_line: Callable[[str], None]) -> None:
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            command, cwd=REPOSITORY, env=os.environ | dict(environment), stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None  # a pipe was asked for
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout, on_line))
        self._reader.start()

    def _read(self, stream: Iterable[str], on_line: Callable[[str], None]) -> None:
        for line in stream:
            self.lines.append(line)
            on_line(line)

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None and not self._reader.is_alive()

    def stop(self) -> None:
        """Ends the command; for a session that means that it is killed."""
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait()
        self._reader.join()
