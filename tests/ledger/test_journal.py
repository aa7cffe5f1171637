"""The SQLite journal: what a cut-off write leaves, who may write, and that a full disk loses nothing.

What it shares with the other stores is in test_stores.py.
"""

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ambit.ledger.journal import Batch, Fenced, JournalError, UnknownSchema
from ambit.ledger.journal.snapshot_files import path_of
from ambit.ledger.journal.sqlite import FILE, SqliteJournal, SqliteReader


def append(journal: SqliteJournal, *changes: bytes, after: int = 0) -> None:
    for number, each in enumerate(changes):
        journal.append(Batch(after + number + 1, each), ())


def copied_as_by_a_crash(folder: Path, to: Path, wal_bytes: int | None = None) -> Path:
    """What the disk has while a journal is open, its log cut to `wal_bytes`."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(folder, to)
    if wal_bytes is not None:
        with (to / f"{FILE}-wal").open("r+b") as wal:
            wal.truncate(wal_bytes)
    return to


def batches_of(folder: Path) -> list[bytes]:
    journal = SqliteJournal(folder)
    try:
        return [batch.changes for batch in journal.batches(0)]
    finally:
        journal.close()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def journal(data: Path) -> Iterator[SqliteJournal]:
    opened = SqliteJournal(data)
    yield opened
    opened.close()


def test_batches_come_back_in_order_after_a_crash(data: Path, tmp_path: Path, journal: SqliteJournal) -> None:
    written = [f"batch {number}".encode() for number in range(20)]
    append(journal, *written)
    assert batches_of(copied_as_by_a_crash(data, tmp_path / "crashed")) == written


def test_a_torn_last_batch_is_dropped_whole(data: Path, tmp_path: Path, journal: SqliteJournal) -> None:
    wal = data / f"{FILE}-wal"
    append(journal, b"first")
    before_bytes = wal.stat().st_size
    last = b"x" * 30_000  # several pages, so that it can be torn between them
    append(journal, last, after=1)
    after_bytes = wal.stat().st_size
    assert after_bytes - before_bytes > 7 * 4096
    for wal_bytes in [*range(before_bytes, after_bytes, 1021), after_bytes - 1]:
        crashed = copied_as_by_a_crash(data, tmp_path / "crashed", wal_bytes)
        assert batches_of(crashed) == [b"first"], f"torn at byte {wal_bytes}"
    assert batches_of(copied_as_by_a_crash(data, tmp_path / "crashed")) == [b"first", last]


def test_a_batch_whose_bytes_were_damaged_is_dropped_whole(data: Path, tmp_path: Path, journal: SqliteJournal) -> None:
    append(journal, b"first", b"second")
    crashed = copied_as_by_a_crash(data, tmp_path / "crashed")
    wal = crashed / f"{FILE}-wal"
    wal.write_bytes(wal.read_bytes()[:-1] + b"?")
    assert batches_of(crashed) == [b"first"]


def test_snapshots_keep_the_files_from_growing(data: Path, journal: SqliteJournal) -> None:
    sizes: list[int] = []
    for upto in range(20, 180, 20):
        append(journal, *[b"x" * 100_000] * 20, after=upto - 20)
        reader = SqliteReader(data)
        reader.write_snapshot(upto, [b"tree"])
        reader.close()
        journal.adopt_snapshot(upto)
        sizes.append(sum(file.stat().st_size for file in data.iterdir()))
    assert sizes[-1] <= sizes[3]


@pytest.fixture
def snapshot(data: Path, journal: SqliteJournal) -> Path:
    """The file of a snapshot that was written, and not adopted."""
    append(journal, b"first")
    reader = SqliteReader(data)
    reader.write_snapshot(1, [b"a chunk", b"another chunk"])
    reader.close()
    return path_of(data, 1)


@pytest.mark.parametrize("kept_bytes", [None, 0, 5, -3, -8])
def test_a_snapshot_that_is_cut_or_missing_is_not_adopted(
    journal: SqliteJournal, snapshot: Path, kept_bytes: int | None
) -> None:
    if kept_bytes is None:
        snapshot.unlink()
    else:
        snapshot.write_bytes(snapshot.read_bytes()[:kept_bytes])
    with pytest.raises(JournalError):
        journal.adopt_snapshot(1)
    assert journal.snapshot() is None
    assert [batch.changes for batch in journal.batches(0)] == [b"first"]


def test_a_snapshot_that_was_damaged_is_not_taken_up(journal: SqliteJournal, snapshot: Path) -> None:
    journal.adopt_snapshot(1)
    whole = snapshot.read_bytes()
    for place in range(len(whole)):
        snapshot.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        damaged = journal.snapshot()
        assert damaged is not None
        with pytest.raises(JournalError):
            list(damaged.chunks)


def test_it_syncs_every_commit_to_the_disk(tmp_path: Path) -> None:
    """Counted in the kernel: SIGKILL cannot show a missing sync, only a power cut could."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    program = (
        "import sys; from pathlib import Path\n"
        "from ambit.ledger.journal import Batch; from ambit.ledger.journal.sqlite import SqliteJournal\n"
        "journal = SqliteJournal(Path(sys.argv[1]))\n"
        "for number in range(50): journal.append(Batch(number + 1, b'batch'), ())\n"
        "import os; os._exit(0)"
    )
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-e", "trace=fsync,fdatasync", "-o", str(trace), sys.executable, "-c", program]
    subprocess.run([*command, str(tmp_path)], check=True)
    assert trace.read_text().count("sync(") >= 50


def test_full_sync_is_on(journal: SqliteJournal) -> None:
    assert journal.durability() == ("wal", 2), "WAL, and synchronous=FULL"


def test_there_is_one_writer(data: Path, journal: SqliteJournal) -> None:
    append(journal, b"mine")
    with pytest.raises(JournalError, match="another ledger running"):
        SqliteJournal(data, wait_for_writer_s=0.0)
    assert [batch.changes for batch in journal.batches(0)] == [b"mine"]


def test_a_commit_of_an_older_epoch_is_fenced_even_without_the_lock(data: Path, journal: SqliteJournal) -> None:
    append(journal, b"mine")
    other = sqlite3.connect(data / FILE, isolation_level=None)
    other.execute("UPDATE ledger SET epoch = epoch + 1")
    other.close()
    with pytest.raises(Fenced):
        append(journal, b"too late", after=1)
    assert batches_of(copied_as_by_a_crash(data, data.with_name("copy"))) == [b"mine"]


def test_a_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"not a database at all, but long enough to look at" * 100)
    with pytest.raises(JournalError, match="not a database"):
        SqliteJournal(tmp_path)


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / FILE)
    other.execute("CREATE TABLE theirs (x)")
    other.close()
    with pytest.raises(UnknownSchema, match="a folder of its own"):
        SqliteJournal(tmp_path)


def test_errors_of_sqlite_are_the_journals(tmp_path: Path) -> None:
    closed = SqliteJournal(tmp_path)
    closed.close()
    with pytest.raises(JournalError) as caught:
        append(closed, b"late")
    assert isinstance(caught.value.__cause__, sqlite3.Error)
