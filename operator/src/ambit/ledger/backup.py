"""A ledger's journal as one stream, for another disk or another kind of store, and a new journal out of such a stream.

A backup is older than what happened since. A restored ledger therefore begins with nothing but a question: it refuses
everything until somebody says what was spent since the backup, or to forget it (rule 15 of docs/ledger.md).
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final, Protocol

import msgspec

from ambit.ledger import snapshot
from ambit.ledger.changes import RestoreBegun
from ambit.ledger.journal import Batch, Source
from ambit.ledger.records import Record, RecordKind
from ambit.ledger.replay import Replay


class Stream(Protocol):
    """What a backup is read from."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes; none at the end."""
        ...


_MAGIC: Final = b"ambit ledger backup 1\n"
_FRAME: Final = struct.Struct("<cII")
_UPTO, _CHUNK, _BATCH, _RECORD, _END = b"u", b"c", b"b", b"r", b"e"
_RECORDS_AT_ONCE: Final = 1000
_END_OF_CHUNKS: Final = (_BATCH, _RECORD, _END)


class BackupUnusable(Exception):
    """The stream is none of ours, cut off or damaged, or there is already something where it should go."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a backup has, or a restore took up."""

    last: int
    """The number of the last batch."""
    accounts: int
    records: int


def write(source: Source, out: BinaryIO) -> Contents:
    """Writes a backup of what is committed now, while the writer goes on. Raises JournalError."""
    reader = source.read()
    try:
        reader.pin()
        replay = Replay()
        out.write(_MAGIC)
        last = reader.snapshot()
        if last is not None:
            _put(out, _UPTO, last.upto.to_bytes(8, "big"))
            replay = Replay(last.upto, _passed_on(out, last.chunks))
        for batch in reader.batches(replay.sequence):
            _put(out, _BATCH, batch.sequence.to_bytes(8, "big") + batch.changes)
            replay.take(batch)  # what cannot be replayed is no backup
        count = 0
        for kind in RecordKind:
            for record in reader.records(kind):
                _put(out, _RECORD, msgspec.msgpack.encode(record))
                count += 1
        contents = Contents(replay.sequence, len(replay.tree.state.accounts), count)
        _put(out, _END, msgspec.msgpack.encode(contents))
        return contents
    finally:
        reader.close()


def restore(source: Source, stream: Stream) -> Contents:
    """Makes a journal of a backup, where there is none yet. Raises BackupUnusable, JournalError."""
    journal = source.open()
    try:
        if journal.snapshot() is not None or next(journal.batches(0), None) is not None:
            raise BackupUnusable("there is a journal already: restore into an empty folder or database")
        replay, records, contents = _read(stream)
        state = replay.tree.state
        state.evolve(RestoreBegun(state.now_ms))
        upto = replay.sequence + 1
        reader = source.read()
        try:
            reader.write_snapshot(upto, snapshot.take(state, state.now_ms))
        finally:
            reader.close()
        # In one step, and first: from here on whatever is started over this journal knows all that the backup knew.
        journal.adopt_snapshot(upto)
        for first in range(0, len(records), _RECORDS_AT_ONCE):
            journal.append(Batch(upto + 1, b""), records[first : first + _RECORDS_AT_ONCE])
        return contents
    finally:
        journal.close()


def _read(stream: Stream) -> tuple[Replay, list[Record], Contents]:
    if stream.read(len(_MAGIC)) != _MAGIC:
        raise BackupUnusable("this is no backup of a ledger")
    frames = _frames(stream)
    kind, data = next(frames)
    chunks: list[bytes] = []
    upto = 0
    if kind == _UPTO:
        upto = int.from_bytes(data, "big")
        for kind, data in frames:
            if kind in _END_OF_CHUNKS:
                break
            chunks.append(data)
    replay = Replay(upto, chunks)
    records: list[Record] = []
    while kind != _END:
        if kind == _BATCH:
            replay.take(Batch(int.from_bytes(data[:8], "big"), data[8:]))
        else:
            records.append(msgspec.msgpack.decode(data, type=Record))
        kind, data = next(frames)
    found = Contents(replay.sequence, len(replay.tree.state.accounts), len(records))
    said = msgspec.msgpack.decode(data, type=Contents)
    if found != said:
        raise BackupUnusable(f"the backup should have {said}, and has {found}")
    return replay, records, found


def _passed_on(out: BinaryIO, chunks: Iterator[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        _put(out, _CHUNK, chunk)
        yield chunk


def _put(out: BinaryIO, kind: bytes, data: bytes) -> None:
    out.write(_FRAME.pack(kind, len(data), zlib.crc32(data)))
    out.write(data)


def _frames(stream: Stream) -> Iterator[tuple[bytes, bytes]]:
    while True:
        header = stream.read(_FRAME.size)
        if len(header) < _FRAME.size:
            raise BackupUnusable("the backup is cut off: its end is missing")
        kind, length, checksum = _FRAME.unpack(header)
        data = stream.read(length)
        if len(data) < length or zlib.crc32(data) != checksum:
            raise BackupUnusable("the backup is damaged, or cut off")
        yield kind, data
