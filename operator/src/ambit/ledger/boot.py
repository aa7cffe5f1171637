"""The clock of this boot, which goes on over restarts of the process, and what is noted by it beside the journal."""

import asyncio
import logging
import os
import time
from pathlib import Path

import msgspec

from ambit.ledger.clock import Ahead
from ambit.ledger.journal.snapshot_files import sync_folder

FILE = "boot-clock"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
log = logging.getLogger(__name__)


def boot_clock_ms() -> int:
    """Milliseconds since this machine booted, those that it slept included. Nobody can set it."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def boot_id() -> str:
    """Which boot of which machine this is; the same in every container on it."""
    return BOOT_ID.read_text().strip()


class _Note(msgspec.Struct, rename="camel"):
    boot: str
    line_ms: int
    witness_ms: int | None
    crept_until_ms: int = 0


class BootNotes:
    """`Notes` as a file in `folder`, beside the embedded journal. A backup does not have it: it is of this machine."""

    def __init__(self, folder: Path, boot: str) -> None:
        self._path = folder / FILE
        self._boot = boot

    async def load(self) -> Ahead | None:
        return await asyncio.to_thread(self._load)

    async def keep(self, ahead: Ahead) -> None:
        await asyncio.to_thread(self._keep, ahead)

    def _load(self) -> Ahead | None:
        try:
            note = msgspec.json.decode(self._path.read_bytes(), type=_Note)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            # Without it less is believed, never more.
            log.warning("how the clocks stood cannot be read", extra={"fields": {"cause": str(error)}})
            return None
        return Ahead(note.line_ms, note.witness_ms, note.crept_until_ms) if note.boot == self._boot else None

    def _keep(self, ahead: Ahead) -> None:
        unfinished = self._path.with_suffix(".unfinished")
        try:
            with unfinished.open("wb") as file:
                file.write(
                    msgspec.json.encode(_Note(self._boot, ahead.line_ms, ahead.witness_ms, ahead.crept_until_ms))
                )
                file.flush()
                os.fsync(file.fileno())
            unfinished.rename(self._path)
            sync_folder(self._path.parent)
        except OSError as error:
            log.warning("how the clocks stand cannot be noted", extra={"fields": {"cause": str(error)}})
