"""Which callers a batch of the client names to the ledger."""

import asyncio
from collections.abc import Mapping
from random import Random

from ambit.ledger.client import LedgerClient
from ambit.telemetry import tracing
from ambit.telemetry.tracing import SpanName
from tests.ledger.scripted import ONE, SESSION, ScriptedLedger
from tests.telemetry.in_memory import in_memory


class Headers:
    """A way to the ledger that keeps the headers of each batch."""

    def __init__(self) -> None:
        self.ledger = ScriptedLedger()
        self.sent: list[Mapping[str, str]] = []

    async def exchange(self, body: bytes) -> bytes:
        self.sent.append(dict(tracing.carried()))
        return await self.ledger.exchange(body)

    def client(self) -> LedgerClient:
        return LedgerClient.over(self.exchange, self.ledger.events, chance=Random(1))


async def call(client: LedgerClient, *, traced: bool) -> str | None:
    """One hold; the caller's own `traceparent`."""
    with tracing.span(SpanName.ADMISSION) if traced else tracing.NONE:
        await client.hold(SESSION, ONE, ONE, 60_000)
        return tracing.caller()


async def test_a_batch_names_the_callers_that_are_traced_each_once_and_in_order() -> None:
    with in_memory():
        way = Headers()
        async with way.client() as client:
            first, _, third = await asyncio.gather(*(call(client, traced=traced) for traced in (True, False, True)))
            await call(client, traced=False)
    assert way.sent == [{"traceparent": first, "x-ambit-traces": third}, {}]


async def test_a_batch_that_is_sent_again_names_the_callers_that_are_left() -> None:
    with in_memory():
        way = Headers()
        way.ledger.lose = 1
        async with way.client() as client:
            first = await call(client, traced=True)
    assert way.sent == [{"traceparent": first}] * 2


async def test_while_tracing_is_off_nobody_is_named() -> None:
    way = Headers()
    async with way.client() as client:
        await call(client, traced=True)
    assert way.sent == [{}]
