"""Disk space kept back, so that what was granted can still be settled when the disk is full.

A file of a fixed size beside the journal. When the disk is full it is given up, and from then on nothing new may be
held; it is taken again once there is room for it and as much besides.
"""

import os
from pathlib import Path

FILE = "settlement-space"
SETTLEMENT_SPACE_BYTES = 16 * 1024 * 1024
"""A settlement takes some 100 bytes in the journal and as much in its log: enough for 80,000 open holds."""


class SettlementSpace:
    """The file in `folder`, of `size_bytes`."""

    def __init__(self, folder: Path, size_bytes: int) -> None:
        self._path = folder / FILE
        self._size_bytes = size_bytes
        self.spent = not self._allocate()
        """Whether it was given up, or could not be had: nothing new may be held."""

    def spend(self) -> bool:
        """Gives the space up to the journal; False where that was done before."""
        if self.spent:
            return False
        self.spent = True
        self._path.unlink(missing_ok=True)
        return True

    def take_back(self) -> None:
        """Takes the space again, if the disk has room for it and as much besides."""
        if not self.spent:
            return
        disk = os.statvfs(self._path.parent)
        if disk.f_bavail * disk.f_frsize >= 2 * self._size_bytes:
            self.spent = not self._allocate()

    def _allocate(self) -> bool:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, self._size_bytes)
        except OSError:
            # Whatever the cause, there is no space to settle in: say so, and hold nothing new.
            os.close(descriptor)
            self._path.unlink(missing_ok=True)
            return False
        os.close(descriptor)
        return True
