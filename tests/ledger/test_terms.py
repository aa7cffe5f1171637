"""A term of a writer, in this process."""

import asyncio
import gc
from pathlib import Path

from ambit.ledger.dispatch import Dispatcher
from ambit.ledger.journal.sqlite import SqliteSource
from ambit.ledger.journal.threaded import ThreadedStore
from ambit.ledger.snapshot_process import SnapshotProcess
from ambit.ledger.terms import Terms
from ambit.ledger.timekeeping import Timekeeper
from ambit.ledger.writer import Writer
from tests.ledger.builders import NOON_MS


async def test_what_a_term_begins_with_is_no_business_of_the_garbage_collector_until_it_is_over(tmp_path: Path) -> None:
    source = SqliteSource(tmp_path)
    terms = Terms(
        source,
        lambda: ThreadedStore(source, SnapshotProcess(source.address)),
        lambda store, committed: Writer(store, committed, Timekeeper(lambda: NOON_MS)),
        Dispatcher(),
    )
    running = asyncio.create_task(terms.run())
    await terms.first.wait()
    assert terms.writer is not None
    assert gc.get_freeze_count() > 0
    assert not any(each is terms.writer.tree for each in gc.get_objects(2)), "a full collection does not look at it"
    terms.stop()
    await running
    assert gc.get_freeze_count() == 0
