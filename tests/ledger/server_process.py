"""The real ledger process, as a test starts it: `python server_process.py DATA_FOLDER`.

It is `ambit.ledger.main.run` on a port of 127.0.0.1 (`LISTEN`), with tokens that are their user's name in place of an
apiserver. What it listens on goes to stdout as one line of JSON. The environment can ask for what a test needs:
`KILL_BEFORE` (`<step>#<n>`: SIGKILL itself before the n-th time of a step of its journal), `COMPACT_AFTER_CHANGES`,
`CLOCK_FILE` (a file with the milliseconds to add to the clock), `SETTLEMENT_SPACE_BYTES`, and `STORE` (a PostgreSQL
address, in place of the journal in DATA_FOLDER), `PARTITIONS` (of that).
"""

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from ambit.ledger.journal import JournalError
from ambit.ledger.journal.reserved import SETTLEMENT_SPACE_BYTES
from ambit.ledger.journal.sqlite import SqliteSource
from ambit.ledger.main import run, wall_clock_ms
from ambit.ledger.settings import Settings
from ambit.ledger.writer import COMPACT_AFTER_CHANGES
from ambit.telemetry import logs, tracing


class NamesAsTokens:
    """The token `user-x` is the user `user-x`; any other is nobody's."""

    async def authenticate(self, token: str) -> str | None:
        return token if token.startswith("user-") else None


def now_ms() -> int:
    """The wall clock, moved by what the test says."""
    moved = os.environ.get("CLOCK_FILE")
    return wall_clock_ms() + (int(Path(moved).read_text()) if moved else 0)


def killer(where: str) -> Callable[[str], None]:
    """A journal hook that ends this process before a step, as a crash would: `append: commit#3` is its third commit."""
    step, _, occurrence = where.partition("#")
    seen: Counter[str] = Counter()

    def before(name: str) -> None:
        seen[name] += 1
        if name == step and seen[name] == int(occurrence):
            os.kill(os.getpid(), signal.SIGKILL)

    return before


def say(operations: str, health: str) -> None:
    """Tells the test where to go."""
    print(json.dumps({"operations": operations, "health": health}), flush=True)


async def main(folder: Path) -> None:
    """Runs the ledger until SIGTERM."""
    settings = Settings(
        store=os.environ.get("STORE", str(folder)),
        components={"user-operator": "operator", "user-gateway": "gateway", "user-other": "other"},
        listen=os.environ["LISTEN"],
        health_listen="127.0.0.1:0",
        partitions=int(os.environ.get("PARTITIONS", "1")),
    )
    store = os.environ.get("STORE", str(folder))
    before = killer(os.environ.get("KILL_BEFORE", ""))
    space_bytes = int(os.environ.get("SETTLEMENT_SPACE_BYTES", str(SETTLEMENT_SPACE_BYTES)))
    embedded = SqliteSource(folder, before=before, settlement_space_bytes=space_bytes)
    source = None if store != str(folder) else embedded
    compact_after_changes = int(os.environ.get("COMPACT_AFTER_CHANGES", str(COMPACT_AFTER_CHANGES)))
    await run(
        settings,
        NamesAsTokens(),
        source=source,
        now_ms=now_ms,
        compact_after_changes=compact_after_changes,
        listening=say,
    )


if __name__ == "__main__":
    logs.configure("ledger")
    try:
        with tracing.exporting("ledger", os.environ):
            asyncio.run(main(Path(sys.argv[1])))
    except JournalError as error:
        sys.exit(f"ledger: {error}")
