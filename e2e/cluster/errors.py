"""What can go wrong with a cluster, as types; the command line makes each into one message."""

from dataclasses import dataclass
from pathlib import Path

LOG_LINES_SHOWN = 15


class ClusterError(Exception):
    """Anything the user can act on. `str()` is the message, complete in itself."""


@dataclass(eq=False)
class Missing(ClusterError):
    """A tool, right or argument is missing. `cure` is a sentence that says what to do."""

    what: str
    cure: str

    def __str__(self) -> str:
        return f"{self.what}: {self.cure}"


@dataclass(eq=False)
class CommandFailed(ClusterError):
    """A command that must succeed did not."""

    argv: tuple[str, ...]
    exit_code: int
    output: str

    def __str__(self) -> str:
        command = " ".join(self.argv)
        return f"`{shortened(command)}` failed with exit code {self.exit_code}:\n{self.output.strip()}"


@dataclass(eq=False)
class StepFailed(ClusterError):
    """A process did not become ready. Names its log and shows the log's last lines."""

    what: str
    log: Path

    def __str__(self) -> str:
        return f"{self.what}; the log is {self.log}, its last lines:\n{last_lines(self.log)}"


@dataclass(eq=False)
class NotRunning(ClusterError):
    """The cluster that was asked about is not up."""

    name: str

    def __str__(self) -> str:
        return (
            f"cluster {self.name} is not running: start it with `.venv/bin/python -m e2e.cluster up --name {self.name}`"
        )


def shortened(text: str, limit: int = 300) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def last_lines(log: Path) -> str:
    if not log.exists():
        return "(it was never written)"
    lines = log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
    return "\n".join(shortened(line) for line in lines)
