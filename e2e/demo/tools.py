"""Running the programs that the demo is made of."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from e2e.images.catalogue import REPOSITORY

AMBIT: Final = str(Path(sys.executable).parent / "ambit")


@dataclass(eq=False)
class DemoFailed(Exception):
    """A step could not be done. `str()` is the message, complete in itself."""

    what: str

    def __str__(self) -> str:
        return self.what


@dataclass(frozen=True, slots=True)
class Cluster:
    """Which cluster is meant: the options of `python -m e2e.cluster`."""

    name: str
    provider: str | None

    def command(self, verb: str, *arguments: str) -> list[str]:
        chosen = [] if self.provider is None else ["--provider", self.provider]
        return module("e2e.cluster", verb, "--name", self.name, *chosen, *arguments)


def module(name: str, *arguments: str) -> list[str]:
    """The command of a module of this repository."""
    return [sys.executable, "-m", name, *arguments]


def client(tool: str) -> str:
    """The path of kubectl or helm: the machine's own, or the one that the embedded cluster is built with."""
    return shutil.which(tool) or output(module("e2e.cluster", "tool", tool)).strip()


def show(command: list[str]) -> None:
    """Runs a command whose progress is for people. Raises DemoFailed."""
    done = subprocess.run(command, cwd=REPOSITORY, check=False)
    if done.returncode != 0:
        raise DemoFailed(f"`{' '.join(command[-4:])}` failed with exit code {done.returncode}: see above")


def output(command: list[str], *, show_errors: bool = True) -> str:
    """What a command prints. Its errors go to the terminal, or into the message. Raises DemoFailed."""
    errors = None if show_errors else subprocess.PIPE
    done = subprocess.run(command, cwd=REPOSITORY, check=False, stdout=subprocess.PIPE, stderr=errors, text=True)
    if done.returncode != 0:
        said = f":\n{done.stderr.strip()}" if done.stderr else ": see above"
        raise DemoFailed(f"`{' '.join(command)}` failed with exit code {done.returncode}{said}")
    return done.stdout


class Kubectl:
    """kubectl on one cluster."""

    def __init__(self, program: str, kubeconfig: Path) -> None:
        self._command = [program, "--kubeconfig", str(kubeconfig)]

    def run(self, *arguments: str) -> str:
        """What kubectl prints. Raises DemoFailed with kubectl's own words."""
        return output([*self._command, *arguments], show_errors=False)

    def get(self, *arguments: str) -> dict[str, Any]:
        """A list of objects."""
        listed: dict[str, Any] = json.loads(self.run("get", "--output", "json", *arguments))
        return listed


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
