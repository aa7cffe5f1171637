"""Makes one snapshot and ends: `python -m ambit.ledger.snapshot_process ADDRESS UPTO [PASSWORD_FILE]`.

Started by the ledger itself: a process of its own, so that the writer's core has nothing to do with it. It replays what
is committed from the last snapshot on, as a standby would. The writer adopts what it wrote.
"""

import asyncio
import os
import sys
from pathlib import Path

from ambit.ledger import snapshot
from ambit.ledger.journal import JournalError
from ambit.ledger.journal.sources import source_of
from ambit.ledger.replay import replayed

NICENESS = 10


def main(address: str, upto: int, password_file: Path | None) -> None:
    """Writes the snapshot of the tree after batch `upto`. Raises JournalError."""
    os.nice(NICENESS)
    reader = source_of(address, password_file).read()
    try:
        replay = replayed(reader, upto)
        if replay.sequence != upto:
            raise JournalError(f"batch {upto} is not there: the last one is {replay.sequence}")
        state = replay.tree.state
        reader.write_snapshot(upto, snapshot.take(state, state.now_ms))
    finally:
        reader.close()


class SnapshotProcess:
    """Runs this program for the store at `address`: a `MakeSnapshot`."""

    def __init__(self, address: str, password_file: Path | None = None) -> None:
        self._address = address
        self._password_file = password_file

    async def __call__(self, upto: int) -> None:
        program = [sys.executable, "-m", "ambit.ledger.snapshot_process", self._address, str(upto)]
        if self._password_file is not None:
            program.append(str(self._password_file))
        process = await asyncio.create_subprocess_exec(*program, stderr=asyncio.subprocess.PIPE)
        try:
            _, said = await process.communicate()
        except BaseException:
            process.kill()
            await process.wait()
            raise
        if process.returncode != 0:
            last = said.decode(errors="replace").strip().splitlines()[-1:]
            raise JournalError(f"no snapshot was made: {' '.join(last) or f'status {process.returncode}'}")


if __name__ == "__main__":
    try:
        main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) > 3 else None)
    except JournalError as error:
        sys.exit(str(error))
