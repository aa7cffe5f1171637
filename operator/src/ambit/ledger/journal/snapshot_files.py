"""Snapshots as files: chunks with a length and a checksum each, and a last frame that says how many there were.

A file gets its name only once it is whole and synced, so that what has the name can be believed.
"""

import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from ambit.ledger.journal import JournalError

_FRAME = struct.Struct("<II")
_END = 0xFFFF_FFFF
"""In place of a length: the last frame. Its checksum's place has the number of chunks."""


def path_of(folder: Path, upto: int) -> Path:
    """Where the snapshot that stands for every batch up to `upto` is."""
    return folder / f"snapshot-{upto}"


def write(folder: Path, upto: int, chunks: Iterable[bytes]) -> None:
    """Writes a snapshot whole, or leaves nothing of that name. Raises JournalError."""
    path = path_of(folder, upto)
    unfinished = path.with_suffix(f".{os.getpid()}.unfinished")
    try:
        with unfinished.open("wb") as file:
            count = 0
            for chunk in chunks:
                file.write(_FRAME.pack(len(chunk), zlib.crc32(chunk)))
                file.write(chunk)
                count += 1
            file.write(_FRAME.pack(_END, count))
            file.flush()
            os.fsync(file.fileno())
        with unfinished.open("rb") as file:
            for _ in _frames(file, unfinished):  # read again here, so that the writer need not when it adopts it
                pass
        unfinished.rename(path)
        sync_folder(folder)
    except OSError as error:
        raise JournalError(f"the snapshot could not be written: {error} (is the disk full?)") from error
    finally:
        unfinished.unlink(missing_ok=True)


def read(folder: Path, upto: int) -> Iterator[bytes]:
    """The chunks again. Raises JournalError where the file is missing, cut or damaged."""
    path = path_of(folder, upto)
    try:
        with path.open("rb") as file:
            yield from _frames(file, path)
    except OSError as error:
        raise JournalError(f"the snapshot cannot be read: {error}") from error


def _frames(file: BinaryIO, path: Path) -> Iterator[bytes]:
    count = 0
    while True:
        header = file.read(_FRAME.size)
        if len(header) < _FRAME.size:
            raise JournalError(f"{path} is cut off after {count} chunks: restore the journal from a backup")
        length, checksum = _FRAME.unpack(header)
        if length == _END:
            if checksum != count:
                raise JournalError(f"{path} has {count} chunks in place of {checksum}: restore from a backup")
            return
        chunk = file.read(length)
        if len(chunk) != length or zlib.crc32(chunk) != checksum:
            raise JournalError(f"{path} is damaged in chunk {count}: restore the journal from a backup")
        count += 1
        yield chunk


def is_whole(folder: Path, upto: int) -> bool:
    """Whether the file is there to its last frame. Does not read it: it may be large."""
    try:
        with path_of(folder, upto).open("rb") as file:
            file.seek(-_FRAME.size, os.SEEK_END)
            return _FRAME.unpack(file.read())[0] == _END
    except OSError:
        return False


def drop_all_but(folder: Path, upto: int | None) -> None:
    """Removes the snapshots before `upto`, and what was left unfinished by processes that are gone."""
    for path in folder.glob("snapshot-*"):
        number = path.name.removeprefix("snapshot-").partition(".")[0]
        if upto is None or not number.isdecimal() or int(number) < upto:
            path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Has the folder's own entries on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
