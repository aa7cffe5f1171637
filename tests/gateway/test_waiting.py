"""For what a call waits, and for how long: others' room, the next minute, and no longer than its client does."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import pytest

from ambit.gateway.admission import ClientGone
from ambit.gateway.admitting import Admitting
from ambit.gateway.identity.session_directory import Session
from ambit.gateway.models.wire_format import RefusedCall
from ambit.ledger import wire
from ambit.ledger.amounts import Amount, Resource, Window
from tests.ledger.scripted import ScriptedLedger, grant

BUDGET, AGENT = "budget/n/b", "agent/n/a"
MINE, OTHER = (Session(f"session/n/{name}", AGENT, None, None) for name in ("mine", "other"))
ONE = Amount(model_calls=1)
HELD = wire.Wait(
    wire.RefusalReason.LIMIT_EXCEEDED, BUDGET, "held", Window.DAY, Resource.MODEL_CALLS, 10, 5, 5, 1, 3_600_000
)


def a_full_minute(resets_in_ms: int) -> wire.Wait:
    return wire.Wait(
        wire.RefusalReason.LIMIT_EXCEEDED,
        BUDGET,
        "full",
        Window.MINUTE,
        Resource.MODEL_CALLS,
        10,
        10,
        0,
        1,
        resets_in_ms,
    )


@asynccontextmanager
async def a_ledger_that_says(
    *answers: wire.Wait, queue_s: float = 20.0
) -> AsyncGenerator[tuple[ScriptedLedger, Admitting]]:
    """To reservations, these first, the last of them for as long as it stands; whatever else, it grants."""
    left = list(answers)

    def answer(op: wire.AnyOperation) -> wire.AnyResult:
        if isinstance(op, wire.Reserve) and left:
            return left[0] if len(left) == 1 else left.pop(0)
        return grant(op)

    ledger = ScriptedLedger(answer)
    async with ledger.client() as client:
        yield ledger, Admitting.over(client, hold_expires_in_ms=600_000, hold_ahead=False, queue_s=queue_s)


def still_there() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 -- nothing tells
        await asyncio.sleep(0.001)


async def test_a_minute_that_ends_soon_is_waited_for() -> None:
    async with a_ledger_that_says(a_full_minute(10_000)) as (ledger, ours):
        call = asyncio.create_task(ours.admission.hold(MINE, ONE, ONE, still_there()))
        await until(lambda: ours.queue.waiting == 1)
        ledger.answer = grant
        assert (await call).amount == ONE


async def test_a_minute_that_ends_too_late_is_told_at_once_with_what_is_left_of_it() -> None:
    async with a_ledger_that_says(a_full_minute(25_500)) as (ledger, ours):
        with pytest.raises(RefusedCall) as refused:
            await ours.admission.hold(MINE, ONE, ONE, still_there())
        assert (refused.value.status, refused.value.retry_after_s) == (429, 26)
        assert refused.value.details is not None
        assert refused.value.details.bound == "modelCalls per Minute"
        assert len(ledger.ops) == 1


@pytest.mark.parametrize(("wait", "retry_after_s"), [(HELD, 5), (a_full_minute(1), 1)])
async def test_after_all_the_time_there_is_it_is_429_and_says_what_was_waited_for(
    wait: wire.Wait, retry_after_s: int
) -> None:
    async with a_ledger_that_says(wait, queue_s=0.05) as (_, ours):
        with pytest.raises(RefusedCall) as refused:
            await ours.admission.hold(MINE, ONE, ONE, still_there())
        assert (refused.value.status, refused.value.retry_after_s) == (429, retry_after_s)
        assert refused.value.details is not None
        assert refused.value.details.account == BUDGET
        assert ours.queue.waiting == 0


@pytest.mark.parametrize("place", ["first", "behind others"])
async def test_a_client_that_goes_away_leaves_the_queue_at_once_and_holds_nothing(place: str) -> None:
    async with a_ledger_that_says(HELD) as (ledger, ours):
        gone = still_there()
        others = [asyncio.create_task(ours.admission.hold(OTHER, ONE, ONE, still_there()))]
        await until(lambda: ours.queue.waiting == 1)
        if place == "first":
            others.pop().cancel()
            await until(lambda: ours.queue.waiting == 0)
        call = asyncio.create_task(ours.admission.hold(MINE, ONE, ONE, gone))
        await until(lambda: ours.queue.waiting == 1 + len(others))
        gone.set_result(None)
        async with asyncio.timeout(10):  # half of what it would wait for
            with pytest.raises(ClientGone):
                await call
        assert ours.queue.waiting == len(others)
        held = {op.id for op in ledger.ops if isinstance(op, wire.Reserve) and op.path == MINE.path}
        assert len(held) <= 2, "it was asked for no more"
        for other in others:
            other.cancel()
