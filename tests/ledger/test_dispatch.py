"""What is no operation is answered as such, and spoils neither the batch that it is in nor the ledger."""

import asyncio
from collections.abc import AsyncGenerator

import msgspec
import pytest

from ambit.ledger import wire
from ambit.ledger.dispatch import Dispatcher, NotABatch
from ambit.ledger.timekeeping import Timekeeper
from ambit.ledger.writer import Writer
from ambit.telemetry import metrics
from tests.ledger.builders import NOON_MS
from tests.ledger.test_writer import MemoryStore

PUT = b'{"op":"putAccount","path":"budget/n/b"}'


@pytest.fixture
async def dispatcher() -> AsyncGenerator[Dispatcher]:
    writer = Writer(MemoryStore(), lambda _: None, Timekeeper(lambda: NOON_MS))
    await writer.recover()
    writing = asyncio.create_task(writer.run())
    yield Dispatcher(writer)
    writer.stop()
    await writing


async def answers(dispatcher: Dispatcher, *ops: bytes, component: str = "operator") -> list[str]:
    """What kinds of answers a batch gets."""
    body = await dispatcher.answer(component, b'{"ops":[' + b",".join(ops) + b"]}", 2)
    return [type(each).__name__ for each in msgspec.json.decode(body, type=wire.Results).results]


@pytest.mark.parametrize(
    "bad",
    [
        b'{"op":"kill","path":"budget/n/b","reason":"\\ud800","by":"ada"}',
        b'{"op":"kill","path":"budget/n/b","reason":"\xed\xa0\x80","by":"ada"}',
        b'{"op":"putAccount","path":"budget/n/b","attributes":' + b"[" * 500 + b"]" * 500 + b"}",
        b'{"op":"nothing"}',
        b"12345678901234567890123",
        b"1e999",
    ],
)
async def test_a_bad_operation_is_invalid_and_those_beside_it_are_done(dispatcher: Dispatcher, bad: bytes) -> None:
    assert await answers(dispatcher, PUT, bad, PUT) == ["AccountPut", "Invalid", "AccountPut"]


@pytest.mark.parametrize("body", [b"\xff", b'{"ops":' + b"[" * 100_000, b'{"\xff":[]}', b"{}"])
async def test_what_is_no_batch_is_refused(dispatcher: Dispatcher, body: bytes) -> None:
    with pytest.raises(NotABatch):
        await dispatcher.answer("operator", body, 2)


async def test_no_number_is_taken_that_the_journal_cannot_write(dispatcher: Dispatcher) -> None:
    opened = b'{"op":"open","path":"session/n/s","parent":"budget/n/b","graceMs":1000}'
    one, huge = b'{"modelCalls":1}', str(2**64).encode()
    held = b'{"op":"reserve","id":"h#1","path":"session/n/s","want":%s,"atLeast":%s,"expiresInMs":1000}' % (one, one)
    extend = b'{"op":"extend","id":"h#1","sequence":%s,"expiresInMs":1000,"want":%s,"atLeast":%s}'
    assert await answers(dispatcher, PUT, opened) == ["AccountPut", "Opened"]
    given = (held, extend % (huge, one, one), extend % (b"1", b'{"usd":%s}' % huge, one), extend % (b"1", one, one))
    assert await answers(dispatcher, *given, component="gateway") == ["Granted", "Invalid", "Invalid", "Granted"]


async def test_a_session_that_only_shadow_lets_open_is_counted(dispatcher: Dispatcher) -> None:
    labels = ("Shadow", wire.RefusalReason.CONCURRENCY_LIMIT, "budget", "", "")
    counted = metrics.LEDGER_REFUSALS.labels(*labels)
    before = next(iter(counted.collect())).samples[0].value
    put = b'{"op":"putAccount","path":"budget/n/b","concurrentSessions":1,"enforcement":"Shadow"}'
    opened = b'{"op":"open","path":"session/n/%s","parent":"budget/n/b","graceMs":1000}'
    given = (put, opened % b"a", opened % b"b")
    assert await answers(dispatcher, *given) == ["AccountPut", "Opened", "Opened"]
    assert next(iter(counted.collect())).samples[0].value == before + 1
