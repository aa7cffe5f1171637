"""Sessions that have left the tree: no path begins anew, whoever asks, and whatever happened to the ledger."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ambit.ledger import wire
from ambit.ledger.amounts import Amount
from ambit.ledger.journal.sqlite import SqliteSource
from ambit.ledger.journal.threaded import ThreadedStore
from ambit.ledger.snapshot_process import SnapshotProcess
from ambit.ledger.state_of_sessions import FOLD_AFTER_MS
from ambit.ledger.timekeeping import Timekeeper
from ambit.ledger.writer import Writer
from ambit.telemetry.reasons import SessionEnd
from tests.ledger.builders import AGENT, DAY_MS, HOUR_MS, MINUTE_MS, NOON_MS, OTHER, SESSION, TEAM, a_limit, calls

BELIEVED_MS = 4 * MINUTE_MS
"""A step of the wall clock that is not doubted."""
REFUSED = wire.Refused(
    wire.RefusalReason.SESSION_ENDED, SESSION, f"{SESSION} has ended: Completed, done", ended=SessionEnd.COMPLETED
)
OPEN = wire.Open(SESSION, AGENT, DAY_MS, (a_limit(3),), user="ada", labels={"project": "x"})


class Clock:
    """A wall clock that the test moves."""

    def __init__(self) -> None:
        self.now_ms = NOON_MS

    def __call__(self) -> int:
        return self.now_ms


@asynccontextmanager
async def writing(folder: Path, clock: Clock) -> AsyncGenerator[Writer]:
    """A writer over the journal in `folder`, as the ledger's process has it."""
    source = SqliteSource(folder)
    writer = Writer(ThreadedStore(source, SnapshotProcess(source.address)), lambda _: None, Timekeeper(clock))
    await writer.recover()
    running = asyncio.create_task(writer.run())
    try:
        yield writer
    finally:
        writer.stop()
        await running


async def do(writer: Writer, *ops: wire.AnyOperation, component: str = "gateway") -> list[wire.AnyResult]:
    return await writer.apply(component, ops)


async def almost_folds(writer: Writer, clock: Clock) -> None:
    """So much time passes that sessions which have ended leave the tree with the next step that is believed."""
    clock.now_ms += FOLD_AFTER_MS - MINUTE_MS
    await do(writer, wire.GetUsage(TEAM))
    await do(writer, wire.AcceptClock("the test's", "ada"), component="operator")
    assert SESSION in writer.tree.state.accounts
    clock.now_ms += BELIEVED_MS


async def used_up_and_folded(writer: Writer, clock: Clock) -> None:
    """A session that has used all of its limit, has ended, and has left the tree."""
    await do(writer, wire.PutAccount(TEAM), wire.PutAccount(AGENT, parent=TEAM), component="operator")
    (opened,) = await do(writer, OPEN)
    assert opened == wire.Opened(already=False, attributes={})
    await do(writer, wire.Reserve("h", SESSION, calls(3), calls(3), HOUR_MS), wire.Settle("h", calls(3)))
    await do(writer, wire.Close(SESSION, SessionEnd.COMPLETED, "done"))
    await almost_folds(writer, clock)
    await do(writer, wire.GetUsage(TEAM))


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_session_that_was_folded_never_gets_its_limits_anew(tmp_path: Path, restarted: bool) -> None:
    clock = Clock()
    async with writing(tmp_path, clock) as writer:
        await used_up_and_folded(writer, clock)
        assert SESSION not in writer.tree.state.accounts
        if not restarted:
            assert await do(writer, OPEN) == [REFUSED]
    if restarted:
        async with writing(tmp_path, clock) as writer:
            assert await do(writer, OPEN) == [REFUSED]


async def test_whatever_else_names_it_is_told_how_it_ended(tmp_path: Path) -> None:
    clock = Clock()
    async with writing(tmp_path, clock) as writer:
        await used_up_and_folded(writer, clock)
        reserve = wire.Reserve("g", SESSION, calls(1), calls(1), HOUR_MS)
        under = wire.Open(OTHER, SESSION, DAY_MS)
        kill = wire.Kill(SESSION, "late", "ada")
        refused, no_parent, killed = await do(writer, reserve, under, kill)
        assert (refused, no_parent) == (REFUSED, REFUSED)
        assert killed == wire.Killed((), wire.Confirmation.OBSERVED)
        usage, closed = await do(writer, wire.GetUsage(SESSION), wire.Close(SESSION, SessionEnd.COMPLETED))
        assert isinstance(usage, wire.Usage)
        assert (usage.state, usage.spent, usage.parent) == (wire.State.ENDED, calls(3), AGENT)
        assert (usage.user, usage.labels, usage.closed_reason) == ("ada", {"project": "x"}, SessionEnd.COMPLETED)
        assert closed == wire.SessionClosed(usage)


async def test_a_session_whose_record_is_not_on_disk_yet_has_ended_all_the_same(tmp_path: Path) -> None:
    """It folds and is opened again within one commit: the records on disk do not know of it."""
    clock = Clock()
    async with writing(tmp_path, clock) as writer:
        await do(writer, wire.PutAccount(TEAM), wire.PutAccount(AGENT, parent=TEAM), component="operator")
        await do(writer, OPEN, wire.Close(SESSION, SessionEnd.COMPLETED, "done"))
        await almost_folds(writer, clock)
        folding = asyncio.create_task(do(writer, wire.GetUsage(TEAM)))
        await asyncio.sleep(0)  # it is applied, and waits for its commit
        assert SESSION not in writer.tree.state.accounts
        assert await do(writer, OPEN) == [REFUSED]
        await folding


@pytest.mark.parametrize("before", [(), (wire.GetUsage(TEAM),)])
async def test_a_session_that_folds_with_the_operation_that_opens_it_again_has_ended_too(
    tmp_path: Path, before: tuple[wire.AnyOperation, ...]
) -> None:
    """It was in the tree when it was asked whether it is known; or an operation of the same batch has folded it."""
    clock = Clock()
    async with writing(tmp_path, clock) as writer:
        await do(writer, wire.PutAccount(TEAM), wire.PutAccount(AGENT, parent=TEAM), component="operator")
        await do(writer, OPEN, wire.Close(SESSION, SessionEnd.COMPLETED, "done"))
        await almost_folds(writer, clock)
        *_, again = await do(writer, *before, OPEN)
        assert again == REFUSED


async def test_a_session_that_never_was_begins_and_another_account_is_unknown(tmp_path: Path) -> None:
    clock = Clock()
    async with writing(tmp_path, clock) as writer:
        await used_up_and_folded(writer, clock)
        opened, reserved = await do(
            writer, wire.Open(OTHER, AGENT, DAY_MS), wire.Reserve("g", OTHER, calls(1), calls(1), HOUR_MS)
        )
        assert (opened, reserved) == (wire.Opened(already=False, attributes={}), wire.Granted(Amount(model_calls=1)))
        none = "budget/n/none"
        assert await do(writer, wire.GetUsage(none)) == [wire.UnknownAccount(none)]
