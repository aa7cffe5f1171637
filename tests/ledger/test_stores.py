"""What every store must do, run over each: batches in order, records with them, one writer by its epoch, snapshots."""

from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from ambit.ledger.journal import Batch, Fenced, Journal, JournalError, Reader, Source
from ambit.ledger.journal.age_walk import RECORDS_AT_ONCE
from ambit.ledger.journal.postgres import PostgresSource
from ambit.ledger.journal.sqlite import SqliteSource
from ambit.ledger.journal.threaded import ThreadedStore
from ambit.ledger.records import Record, RecordKind
from tests.ledger.postgres_servers import PostgresCluster, postgres


@pytest.fixture(scope="module")
def server() -> Generator[PostgresCluster]:
    with postgres() as cluster:
        yield cluster


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.integration)])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    """An empty store of each kind."""
    if request.param == "sqlite":
        return SqliteSource(tmp_path, settlement_space_bytes=4096)
    cluster: PostgresCluster = request.getfixturevalue("server")
    cluster.primary.sql("DROP SCHEMA IF EXISTS ambit_ledger CASCADE")
    return PostgresSource(cluster.address())


@pytest.fixture
def opened(source: Source) -> Iterator[Callable[[], Journal]]:
    """Opens journals, and closes those that are left open."""
    journals: list[Journal] = []

    def open_() -> Journal:
        while journals:
            journals.pop().close()
        journals.append(source.open())
        return journals[-1]

    yield open_
    while journals:
        journals.pop().close()


@pytest.fixture
def reader(source: Source, opened: Callable[[], Journal]) -> Iterator[Reader]:
    opened()
    found = source.read()
    yield found
    found.close()


def append(journal: Journal, *changes: bytes, after: int = 0) -> None:
    for number, each in enumerate(changes):
        journal.append(Batch(after + number + 1, each), ())


def contents(journal: Journal | Reader, after: int = 0) -> list[bytes]:
    return [batch.changes for batch in journal.batches(after)]


def test_a_new_store_is_empty(opened: Callable[[], Journal]) -> None:
    journal = opened()
    assert (journal.snapshot(), contents(journal), journal.settling_only()) == (None, [], False)


def test_batches_come_back_in_order(opened: Callable[[], Journal]) -> None:
    written = [f"batch {number}".encode() for number in range(700)]
    append(opened(), *written)
    journal = opened()
    assert contents(journal) == written
    assert contents(journal, after=690) == written[690:]


def test_any_bytes_are_kept(opened: Callable[[], Journal]) -> None:
    written = [bytes(range(256)), b"x" * 1_000_000, b"\0"]
    append(opened(), *written)
    assert contents(opened()) == written


def test_each_opening_is_a_new_epoch(opened: Callable[[], Journal]) -> None:
    assert [opened().epoch() for _ in range(3)] == [1, 2, 3]


def test_a_sequence_is_written_once(opened: Callable[[], Journal]) -> None:
    journal = opened()
    append(journal, b"first")
    with pytest.raises(JournalError):
        append(journal, b"another first")
    assert contents(opened()) == [b"first"]


def test_an_empty_batch_only_asks(opened: Callable[[], Journal]) -> None:
    journal = opened()
    journal.append(Batch(1, b""), ())
    append(journal, b"first")
    assert contents(journal) == [b"first"]


def test_records_are_kept_with_their_batch(opened: Callable[[], Journal], reader: Reader) -> None:
    kept = [
        Record(RecordKind.AUDIT, 5, "agent/n/a", b"\0killed"),
        Record(RecordKind.WINDOW, 6, "agent/n/a", b"{}"),
        Record(RecordKind.AUDIT, 7, 'budget/"ü"', bytes(range(256))),
    ]
    journal = opened()
    journal.append(Batch(1, b"first"), kept)
    journal.append(Batch(2, b""), [Record(RecordKind.AUDIT, 8, "agent/n/a", b"alone")])
    audits = list(reader.records(RecordKind.AUDIT))
    assert audits == [kept[0], kept[2], Record(RecordKind.AUDIT, 8, "agent/n/a", b"alone")]
    assert list(reader.records(RecordKind.AUDIT, 'budget/"ü"')) == [kept[2]]
    assert list(reader.records(RecordKind.WINDOW)) == [kept[1]]
    assert list(reader.records(RecordKind.SESSION)) == []
    assert contents(journal) == [b"first"]


def test_a_batch_that_fails_leaves_no_record(opened: Callable[[], Journal], source: Source) -> None:
    journal = opened()
    append(journal, b"first")
    with pytest.raises(JournalError):
        journal.append(Batch(1, b"again"), [Record(RecordKind.AUDIT, 5, "p", b"x")])
    opened()
    reader = source.read()
    assert list(reader.records(RecordKind.AUDIT)) == []
    reader.close()


def test_many_records_come_in_order(opened: Callable[[], Journal], reader: Reader) -> None:
    kept = [
        Record(RecordKind.SESSION, number, f"session/n/{number % 3}", str(number).encode()) for number in range(700)
    ]
    opened().append(Batch(1, b"x"), kept)
    assert list(reader.records(RecordKind.SESSION)) == kept


def recorded(journal: Journal, kind: RecordKind, *at_ms: int) -> None:
    journal.append(Batch(1, b""), [Record(kind, each, f"path-{each % 3}", b"x") for each in at_ms])


def times(reader: Reader, kind: RecordKind) -> list[int]:
    return [each.at_ms for each in reader.records(kind)]


def pruned(journal: Journal, kind: RecordKind, before_ms: int) -> int:
    """Bites until there is no more to do."""
    bites = 1
    while journal.prune(kind, before_ms):
        bites += 1
    return bites


def test_records_go_by_their_kind_and_age_in_bites(opened: Callable[[], Journal], reader: Reader) -> None:
    journal = opened()
    for at_ms in range(0, 1000, 5):
        recorded(journal, RecordKind.SESSION, *range(at_ms, at_ms + 5))
        recorded(journal, RecordKind.AUDIT, at_ms)
        recorded(journal, RecordKind.WINDOW, at_ms)
    assert pruned(journal, RecordKind.SESSION, 700) >= 980 // RECORDS_AT_ONCE
    assert times(reader, RecordKind.SESSION) == list(range(700, 1000))
    assert pruned(journal, RecordKind.WINDOW, 100) == 1
    assert times(reader, RecordKind.WINDOW) == list(range(100, 1000, 5))
    assert times(reader, RecordKind.AUDIT) == list(range(0, 1000, 5))
    recorded(journal, RecordKind.SESSION, 1000)
    assert pruned(opened(), RecordKind.SESSION, 1001) >= 1, "another writer begins at the beginning"
    assert times(reader, RecordKind.SESSION) == [1000], "the newest record of all stays"
    assert times(reader, RecordKind.AUDIT) == list(range(0, 1000, 5))


def test_what_becomes_old_later_goes_later(opened: Callable[[], Journal], reader: Reader) -> None:
    journal = opened()
    recorded(journal, RecordKind.SESSION, 1, 2)
    recorded(journal, RecordKind.AUDIT, 2)
    for before_ms, left in ((1, [1, 2]), (2, [2]), (3, [])):
        assert not journal.prune(RecordKind.SESSION, before_ms)
        assert times(reader, RecordKind.SESSION) == left
    recorded(journal, RecordKind.SESSION, 3, 4)
    assert not journal.prune(RecordKind.SESSION, 5)
    assert times(reader, RecordKind.SESSION) == [4]


def test_a_reader_follows_the_writer(opened: Callable[[], Journal], reader: Reader) -> None:
    journal = opened()
    append(journal, b"one", b"two")
    assert contents(reader) == [b"one", b"two"]
    append(journal, b"three", after=2)
    assert contents(reader, after=2) == [b"three"]


def test_a_snapshot_stands_for_the_batches_before_it(opened: Callable[[], Journal], reader: Reader) -> None:
    journal = opened()
    append(journal, b"one", b"two", b"three")
    reader.write_snapshot(2, iter([b"tree", b" of two"]))
    assert journal.snapshot() is None, "written, and not adopted"
    journal.adopt_snapshot(2)
    append(journal, b"four", after=3)
    journal = opened()
    snapshot = journal.snapshot()
    assert snapshot is not None
    assert (snapshot.upto, b"".join(snapshot.chunks)) == (2, b"tree of two")
    assert contents(journal, after=2) == [b"three", b"four"]


def test_batches_go_bit_by_bit_once_a_snapshot_stands_for_them(opened: Callable[[], Journal], reader: Reader) -> None:
    journal = opened()
    append(journal, *[b"old"] * 100)
    reader.write_snapshot(100, [b"tree"])
    journal.adopt_snapshot(100)
    append(journal, b"new", after=100)
    with pytest.raises(JournalError, match="begin at the snapshot"):
        contents(reader, after=0)
    append(journal, *[b"new"] * 9, after=101)
    assert contents(journal, after=100) == [b"new"] * 10
    assert contents(opened(), after=100) == [b"new"] * 10


def test_snapshots_only_go_forward(opened: Callable[[], Journal], reader: Reader) -> None:
    journal = opened()
    append(journal, b"one", b"two")
    reader.write_snapshot(2, [b"two"])
    journal.adopt_snapshot(2)
    reader.write_snapshot(1, [b"one"])
    with pytest.raises(JournalError):
        journal.adopt_snapshot(1)
    snapshot = opened().snapshot()
    assert snapshot is not None
    assert snapshot.upto == 2


def test_a_snapshot_that_was_not_finished_is_not_adopted(opened: Callable[[], Journal], reader: Reader) -> None:
    class BrokenOff(Exception):
        pass

    def broken_off() -> Iterator[bytes]:
        yield b"half"
        raise BrokenOff

    journal = opened()
    append(journal, b"one")
    with pytest.raises(BrokenOff):
        reader.write_snapshot(1, broken_off())
    with pytest.raises(JournalError):
        journal.adopt_snapshot(1)
    assert opened().snapshot() is None


@pytest.mark.integration
def test_in_postgres_a_newer_writer_fences_the_older(server: PostgresCluster) -> None:
    server.primary.sql("DROP SCHEMA IF EXISTS ambit_ledger CASCADE")
    old = PostgresSource(server.address()).open()
    append(old, b"mine")
    new = PostgresSource(server.address()).open()
    record = Record(RecordKind.AUDIT, 1, "p", b"x")
    for late in (lambda: append(old, b"late", after=1), lambda: old.append(Batch(2, b"late"), [record])):
        with pytest.raises(Fenced):
            late()
    with pytest.raises(Fenced):
        old.append(Batch(2, b""), ())
    with pytest.raises(Fenced):
        old.adopt_snapshot(1)
    append(new, b"theirs", after=1)
    assert contents(new) == [b"mine", b"theirs"]
    old.close()
    append(new, b"still", after=2)
    new.close()


@pytest.mark.integration
def test_in_postgres_a_place_is_taken_only_as_it_was_seen(server: PostgresCluster) -> None:
    server.primary.sql("DROP SCHEMA IF EXISTS ambit_ledger CASCADE")
    writer = PostgresSource(server.address()).open()
    waiting = PostgresSource(server.address())
    reader = waiting.read()
    waiting.expected = reader.standing()
    append(writer, b"it lives")
    with pytest.raises(Fenced):
        waiting.open()
    waiting.expected = reader.standing()
    waiting.open().close()
    assert not reader.standing().held
    reader.close()
    writer.close()


@pytest.mark.integration
def test_in_postgres_a_newer_schema_is_refused(server: PostgresCluster) -> None:
    server.primary.sql("DROP SCHEMA IF EXISTS ambit_ledger CASCADE")
    PostgresSource(server.address()).open().close()
    server.primary.sql("UPDATE ambit_ledger.ledger SET version = 99")
    with pytest.raises(JournalError, match="run the release that wrote it"):
        PostgresSource(server.address()).open()


async def test_a_reader_that_failed_is_replaced_for_the_next_who_asks(source: Source) -> None:
    kept = Record(RecordKind.AUDIT, 5, "agent/n/a", b"killed")
    journal = source.open()
    journal.append(Batch(1, b"first"), [kept])
    journal.close()
    readers: list[Reader] = []

    class Noted:
        address = source.address
        open = staticmethod(source.open)

        def read(self) -> Reader:
            readers.append(source.read())
            return readers[-1]

    async def no_snapshot(upto: int) -> None:
        raise AssertionError(upto)

    store = ThreadedStore(Noted(), no_snapshot)
    await store.open()
    assert [each async for each in store.records(RecordKind.AUDIT)] == [kept]
    readers[-1].close()  # as a connection that broke off
    with pytest.raises(JournalError):
        [each async for each in store.records(RecordKind.AUDIT)]
    assert [each async for each in store.records(RecordKind.AUDIT)] == [kept]
    assert len(readers) == 2
    await store.close()
