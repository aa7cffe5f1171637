"""The real ledger process, as a test starts it: `python server_process.py DATA_FOLDER`.

It is `ambit.ledger.main.run` on free ports of 127.0.0.1, with tokens that are their user's name in place of an
apiserver. What it listens on goes to stdout as one line of JSON. The environment can ask for what a test
needs: `KILL_AT_STEP` (`<n>`: SIGKILL itself before the n-th step of its journal), `COMPACT_AFTER_CHANGES`, and
`CLOCK_FILE` (a file with the milliseconds to add to the clock).
"""

import asyncio
import itertools
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from ambit.ledger.journal import JournalError
from ambit.ledger.journal.sqlite import SqliteJournal
from ambit.ledger.main import run, wall_clock_ms
from ambit.ledger.settings import Settings
from ambit.ledger.writer import COMPACT_AFTER_CHANGES
from ambit.telemetry import logs


class NamesAsTokens:
    """The token `user-x` is the user `user-x`; any other is nobody's."""

    async def authenticate(self, token: str) -> str | None:
        return token if token.startswith("user-") else None


def now_ms() -> int:
    """The wall clock, moved by what the test says."""
    moved = os.environ.get("CLOCK_FILE")
    return wall_clock_ms() + (int(Path(moved).read_text()) if moved else 0)


def killer(at_step: int) -> Callable[[str], None]:
    """A journal hook that ends this process before step `at_step`, as a crash would."""
    steps = itertools.count(1)

    def before(_: str) -> None:
        if next(steps) == at_step:
            os.kill(os.getpid(), signal.SIGKILL)

    return before


def say(operations: str, health: str) -> None:
    """Tells the test where to go."""
    print(json.dumps({"operations": operations, "health": health}), flush=True)


async def main(folder: Path) -> None:
    """Runs the ledger until SIGTERM."""
    settings = Settings(
        data=folder,
        components={"user-operator": "operator", "user-gateway": "gateway", "user-other": "other"},
        listen="127.0.0.1:0",
        health_listen="127.0.0.1:0",
    )
    at_step = int(os.environ.get("KILL_AT_STEP", "0"))
    journal = SqliteJournal(folder, before=killer(at_step))
    compact_after_changes = int(os.environ.get("COMPACT_AFTER_CHANGES", str(COMPACT_AFTER_CHANGES)))
    await run(
        settings,
        NamesAsTokens(),
        journal=journal,
        now_ms=now_ms,
        compact_after_changes=compact_after_changes,
        listening=say,
    )


if __name__ == "__main__":
    logs.configure("ledger")
    try:
        asyncio.run(main(Path(sys.argv[1])))
    except JournalError as error:
        sys.exit(f"ledger: {error}")
