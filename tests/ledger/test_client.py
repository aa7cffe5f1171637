"""The client against a ledger that answers late, not at all, or when nobody waits any more."""

import asyncio
from collections.abc import Coroutine
from random import Random
from typing import Any

import pytest

from ambit.ledger import transport, wire
from ambit.ledger.amounts import Amount
from ambit.ledger.client import Held, HoldIdReused, InvalidOperation, LedgerBusy, LedgerClient, LedgerUnavailable
from tests.ledger.scripted import ONE, SESSION, ScriptedLedger, kinds, number


def a_call(client: LedgerClient) -> Coroutine[Any, Any, Held | wire.Refused | wire.Wait]:
    return client.hold(SESSION, ONE, ONE, 60_000)


async def test_what_comes_while_a_batch_is_under_way_goes_together_in_the_next_in_order() -> None:
    ledger = ScriptedLedger()
    async with ledger.client() as client:
        ledger.hold_back()
        first = asyncio.create_task(a_call(client))
        await ledger.arrived(1)
        others = [asyncio.create_task(a_call(client)) for _ in range(20)]
        await asyncio.sleep(0)
        ledger.let_go()
        held = await asyncio.gather(first, *others)
    assert [len(batch) for batch in ledger.batches] == [1, 20]
    assert [number(op) for op in ledger.ops] == list(range(1, 22))
    assert [one.id for one in held if isinstance(one, Held)] == [f"{client.holder}#{n}" for n in range(1, 22)]


async def test_what_is_ready_at_once_goes_at_once_in_one_batch() -> None:
    ledger = ScriptedLedger()
    async with ledger.client() as client:
        await asyncio.gather(*(a_call(client) for _ in range(50)))
    assert [len(batch) for batch in ledger.batches] == [50]


async def test_what_was_not_acknowledged_is_sent_again_in_order_before_anything_else() -> None:
    ledger = ScriptedLedger()
    async with ledger.client() as client:
        ledger.lose = 2
        first = [asyncio.create_task(a_call(client)) for _ in range(3)]
        await ledger.arrived(1)
        later = asyncio.create_task(a_call(client))
        await asyncio.gather(*first, later)
    assert [[number(op) for op in batch] for batch in ledger.batches] == [[1, 2, 3], [1, 2, 3], [1, 2, 3], [4]]


async def test_an_attempt_that_hangs_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "ATTEMPT_S", 0.01)
    ledger = ScriptedLedger()
    async with ledger.client() as client:
        ledger.hold_back()
        call = asyncio.create_task(a_call(client))
        await ledger.arrived(2)
        ledger.let_go()
        assert isinstance(await call, Held)


async def test_each_operation_has_its_own_deadline() -> None:
    ledger = ScriptedLedger()
    async with ledger.client() as client:
        ledger.hold_back()
        patient = asyncio.create_task(a_call(client))
        with pytest.raises(LedgerUnavailable, match=r"within 0\.02 s"):
            await client.usage(wire.GetUsage(SESSION), deadline_s=0.02)
        assert not patient.done()
        ledger.let_go()
        assert isinstance(await patient, Held)


async def test_a_ledger_that_stalls_fills_no_memory_and_room_can_still_be_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transport.Transport.__init__, "__kwdefaults__", {"max_waiting": 5})
    ledger = ScriptedLedger()
    async with ledger.client() as client:
        ledger.hold_back()
        under_way = asyncio.create_task(a_call(client))
        await ledger.arrived(1)
        waiting = [asyncio.create_task(a_call(client)) for _ in range(5)]
        await asyncio.sleep(0)
        with pytest.raises(LedgerBusy, match="5 operations wait"):
            await a_call(client)
        settling = client.post(wire.Settle("h", ONE))
        ledger.let_go()
        assert await settling == wire.Settled()
        await asyncio.gather(under_way, *waiting)
    assert len(ledger.ops) == 7


async def test_a_caller_that_goes_away_before_its_call_is_sent_leaves_nothing() -> None:
    ledger = ScriptedLedger()
    async with ledger.client() as client:
        ledger.hold_back()
        under_way = asyncio.create_task(a_call(client))
        await ledger.arrived(1)
        gone = asyncio.create_task(a_call(client))
        await asyncio.sleep(0)
        gone.cancel()
        ledger.let_go()
        await under_way
        await a_call(client)
    assert [number(op) for op in ledger.ops] == [1, 3]


async def test_a_hold_whose_caller_went_away_is_released_once_its_outcome_is_known() -> None:
    ledger = ScriptedLedger()
    async with ledger.client() as client:
        ledger.hold_back()
        gone = asyncio.create_task(a_call(client))
        await ledger.arrived(1)
        gone.cancel()
        ledger.lose = 1
        ledger.let_go()
        await ledger.arrived(3)
    assert kinds(ledger.ops) == ["Reserve", "Reserve", "Release"]
    assert [number(op) for op in ledger.ops] == [1, 1, 1]


async def test_a_hold_that_comes_after_the_deadline_is_released() -> None:
    ledger = ScriptedLedger()
    async with ledger.client(deadline_s=0.02) as client:
        ledger.hold_back()
        with pytest.raises(LedgerUnavailable):
            await a_call(client)
        ledger.let_go()
        await ledger.arrived(2)
    assert kinds(ledger.ops) == ["Reserve", "Release"]


async def test_a_named_hold_that_comes_too_late_stays_since_it_may_be_one_that_is_in_use() -> None:
    ledger = ScriptedLedger()
    async with ledger.client(deadline_s=0.02) as client:
        ledger.hold_back()
        with pytest.raises(LedgerUnavailable):
            await client.reserve(wire.Reserve("runtime/n/s-1", SESSION, ONE, ONE, 60_000))
        ledger.let_go()
        assert isinstance(await a_call(client), Held)
    assert kinds(ledger.ops) == ["Reserve", "Reserve"]


async def test_a_hold_that_is_granted_in_the_step_in_which_its_caller_goes_is_released() -> None:
    ledger = ScriptedLedger()
    async with ledger.client() as client:
        gone: list[asyncio.Task[object]] = []

        def answer(op: wire.AnyOperation) -> wire.AnyResult:
            if isinstance(op, wire.Release):
                return wire.Released()
            # One turn of the loop lies between the answer and the caller's next step: it is cancelled in that one.
            asyncio.get_running_loop().call_soon(lambda: gone[0].cancel())
            return wire.Granted(ONE)

        ledger.answer = answer
        gone.append(asyncio.create_task(a_call(client)))
        await asyncio.wait(gone)
        assert gone[0].cancelled()
        await ledger.arrived(2)
    assert kinds(ledger.ops) == ["Reserve", "Release"]


async def test_a_refusal_that_nobody_waits_for_needs_no_release() -> None:
    ledger = ScriptedLedger(lambda op: wire.Refused(wire.RefusalReason.SESSION_ENDED, SESSION, "it has ended"))
    async with ledger.client() as client:
        ledger.hold_back()
        gone = asyncio.create_task(a_call(client))
        await ledger.arrived(1)
        gone.cancel()
        ledger.let_go()
        assert isinstance(await a_call(client), wire.Refused)
    assert kinds(ledger.ops) == ["Reserve", "Reserve"]


async def test_a_read_that_nobody_waits_for_is_not_repeated() -> None:
    ledger = ScriptedLedger()
    async with ledger.client() as client:
        ledger.hold_back()
        with pytest.raises(LedgerUnavailable):
            await client.usage(wire.GetUsage(SESSION), deadline_s=0.01)
        ledger.lose = 1
        ledger.let_go()
        await a_call(client)
    assert kinds(ledger.ops) == ["GetUsage", "Reserve"]


@pytest.mark.parametrize("used_up", [wire.AlreadySettled(), wire.IdReused("the first")])
async def test_an_id_whose_answer_was_lost_is_followed_by_the_next_one(used_up: wire.AnyResult) -> None:
    """The first attempt was answered `Wait`, which got lost: the ledger has passed that id."""

    def answer(op: wire.AnyOperation) -> wire.AnyResult:
        return used_up if number(op) == 1 else wire.Granted(ONE)

    ledger = ScriptedLedger(answer)
    async with ledger.client() as client:
        held = await a_call(client)
        assert isinstance(held, Held)
        assert held.id == f"{client.holder}#2"
        with pytest.raises(HoldIdReused):
            await client.reserve(wire.Reserve(f"{client.holder}#1", SESSION, ONE, ONE, 1000))


async def test_an_answer_that_is_none_is_no_answer() -> None:
    ledger = ScriptedLedger()
    answers = iter([b"<html>", b'{"results": []}', b'{"results": [{"result": "Settled"}]}'])

    async def exchange(body: bytes) -> bytes:
        await ledger.exchange(body)
        return next(answers)

    async with LedgerClient.over(exchange, ledger.events, chance=Random(1)) as client:
        assert await client.settle(wire.Settle("h", Amount())) == wire.Settled()
    assert len(ledger.batches) == 3


async def test_an_answer_that_cannot_be_read_fails_its_own_operation_alone() -> None:
    ledger = ScriptedLedger()
    unreadable = wire.Usage(SESSION, wire.State.OPEN, spent=Amount(model_calls=-1))

    def answer(op: wire.AnyOperation) -> wire.AnyResult:
        return unreadable if isinstance(op, wire.GetUsage) else wire.Granted(ONE)

    ledger.answer = answer
    async with ledger.client() as client:
        looked, held = await asyncio.gather(
            client.usage(wire.GetUsage(SESSION)), a_call(client), return_exceptions=True
        )
    assert isinstance(looked, InvalidOperation)
    assert isinstance(held, Held)
    assert len(ledger.batches) == 1


HALF_A_CHARACTER = "\ud800"


@pytest.mark.parametrize("bad", [HALF_A_CHARACTER, "x" * (transport.MAX_OPERATION_BYTES + 1)])
async def test_an_operation_that_cannot_be_sent_is_invalid_and_blocks_nobody(bad: str) -> None:
    ledger = ScriptedLedger()
    async with ledger.client(deadline_s=30) as client:
        good = asyncio.create_task(a_call(client))
        with pytest.raises(InvalidOperation):
            await client.kill(wire.Kill(SESSION, bad, "ada"))
        posted = client.post(wire.Release(client.next_id(), bad))
        assert isinstance(await posted, wire.Invalid)
        assert isinstance(await good, Held)
        assert isinstance(await a_call(client), Held)
    assert kinds(ledger.ops) == ["Reserve", "Reserve"]


async def test_no_batch_is_larger_than_the_ledger_takes() -> None:
    ledger = ScriptedLedger(lambda _: wire.Opened(False, {}))
    large = {"input": "x" * (transport.MAX_OPERATION_BYTES // 2)}
    async with ledger.client(deadline_s=30) as client:
        opens = (wire.Open(f"session/n/s-{n}", "budget/n/b", 1000, attributes=large) for n in range(20))
        await asyncio.gather(*(client.open(each) for each in opens))
    assert [len(batch) for batch in ledger.batches] == [7, 7, 6]


async def test_an_answer_that_is_no_text_fails_its_own_operation_alone() -> None:
    ledger = ScriptedLedger()
    garbage = b'{"results":[{"result":"Released"},{"result":"Invalid","message":"\xff"}]}'

    async def exchange(body: bytes) -> bytes:
        return garbage

    client = LedgerClient.over(exchange, ledger.events, chance=Random(1), deadline_s=30)
    async with client:
        releases = (client.release(wire.Release(client.next_id(), "why")) for _ in range(2))
        first, second = await asyncio.gather(*releases, return_exceptions=True)
    assert isinstance(first, wire.Released)
    assert isinstance(second, InvalidOperation)


async def test_an_answer_that_is_none_at_all_is_asked_for_again() -> None:
    ledger = ScriptedLedger()
    answers = [b"\xff", b"[" * 100_000, b'{"results":[{"result":"Released"}]}']

    async def exchange(body: bytes) -> bytes:
        return answers.pop(0)

    client = LedgerClient.over(exchange, ledger.events, chance=Random(1), deadline_s=30)
    async with client:
        assert isinstance(await client.release(wire.Release(client.next_id(), "why")), wire.Released)
