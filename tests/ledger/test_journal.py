"""The SQLite journal: what it keeps, what a cut-off write leaves, and who may write."""

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ambit.ledger.journal import JournalError
from ambit.ledger.journal.sqlite import FILE, SqliteJournal


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
        return list(journal.batches())
    finally:
        journal.close()


def test_batches_come_back_in_order_after_a_crash(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    journal = SqliteJournal(tmp_path / "data")
    written = [f"batch {number}".encode() for number in range(20)]
    for batch in written:
        journal.append(batch)
    assert batches_of(copied_as_by_a_crash(tmp_path / "data", tmp_path / "crashed")) == written
    journal.close()
    assert batches_of(tmp_path / "data") == written


def test_a_torn_last_batch_is_dropped_whole(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    wal = tmp_path / "data" / f"{FILE}-wal"
    journal = SqliteJournal(tmp_path / "data")
    journal.append(b"first")
    before_bytes = wal.stat().st_size
    last = b"x" * 30_000  # several pages, so that it can be torn between them
    journal.append(last)
    after_bytes = wal.stat().st_size
    assert after_bytes - before_bytes > 7 * 4096
    for wal_bytes in [*range(before_bytes, after_bytes, 1021), after_bytes - 1]:
        crashed = copied_as_by_a_crash(tmp_path / "data", tmp_path / "crashed", wal_bytes)
        assert batches_of(crashed) == [b"first"], f"torn at byte {wal_bytes}"
    assert batches_of(copied_as_by_a_crash(tmp_path / "data", tmp_path / "crashed")) == [b"first", last]
    journal.close()


def test_a_batch_whose_bytes_were_damaged_is_dropped_whole(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    journal = SqliteJournal(tmp_path / "data")
    journal.append(b"first")
    journal.append(b"second")
    crashed = copied_as_by_a_crash(tmp_path / "data", tmp_path / "crashed")
    wal = crashed / f"{FILE}-wal"
    wal.write_bytes(wal.read_bytes()[:-1] + b"?")
    assert batches_of(crashed) == [b"first"]
    journal.close()


def test_a_snapshot_stands_for_the_batches_before_it(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path)
    assert journal.snapshot() is None
    journal.append(b"one")
    journal.compact(b"tree of one")
    journal.append(b"two")
    journal.close()
    journal = SqliteJournal(tmp_path)
    assert (journal.snapshot(), list(journal.batches())) == (b"tree of one", [b"two"])
    journal.compact(b"tree of two")
    assert (journal.snapshot(), list(journal.batches())) == (b"tree of two", [])
    journal.close()


def test_compaction_keeps_the_file_from_growing(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path)
    sizes: list[int] = []
    for _ in range(6):
        for _ in range(50):
            journal.append(b"x" * 10_000)
        journal.compact(b"tree")
        sizes.append(sum(file.stat().st_size for file in tmp_path.iterdir()))
    assert sizes[-1] <= sizes[1]
    journal.close()


def test_it_syncs_every_commit_to_the_disk(tmp_path: Path) -> None:
    """Counted in the kernel: SIGKILL cannot show a missing sync, only a power cut could."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    program = (
        "import sys; from pathlib import Path; from ambit.ledger.journal.sqlite import SqliteJournal\n"
        "journal = SqliteJournal(Path(sys.argv[1]))\n"
        "for _ in range(50): journal.append(b'batch')\n"
        "import os; os._exit(0)"
    )
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-e", "trace=fsync,fdatasync", "-o", str(trace), sys.executable, "-c", program]
    subprocess.run([*command, str(tmp_path)], check=True)
    assert trace.read_text().count("sync(") >= 50


def test_full_sync_is_on(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path)
    assert journal.durability() == ("wal", 2), "WAL, and synchronous=FULL"
    journal.close()


def test_each_opening_is_a_new_epoch(tmp_path: Path) -> None:
    epochs: list[int] = []
    for _ in range(3):
        journal = SqliteJournal(tmp_path)
        epochs.append(journal.epoch())
        journal.close()
    assert epochs == [1, 2, 3]


@pytest.fixture
def open_journal(tmp_path: Path) -> Iterator[SqliteJournal]:
    journal = SqliteJournal(tmp_path)
    yield journal
    journal.close()


def test_there_is_one_writer(tmp_path: Path, open_journal: SqliteJournal) -> None:
    open_journal.append(b"mine")
    with pytest.raises(JournalError, match="another ledger running"):
        SqliteJournal(tmp_path, wait_for_writer_s=0.0)
    assert list(open_journal.batches()) == [b"mine"]


def test_a_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"not a database at all, but long enough to look at" * 100)
    with pytest.raises(JournalError, match="not a database"):
        SqliteJournal(tmp_path)


def test_errors_of_sqlite_are_the_journals(open_journal: SqliteJournal) -> None:
    open_journal.close()
    with pytest.raises(JournalError) as caught:
        open_journal.append(b"late")
    assert isinstance(caught.value.__cause__, sqlite3.Error)
