"""The ledger itself, through its own client."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from ambit.ledger import wire
from ambit.ledger.amounts import Amount
from ambit.ledger.client import LedgerClient
from e2e.bench.ledger.systems import CALLS, TOKENS, USD_NANOS, USED_TOKENS, USED_USD_NANOS, RefusedHere

WANT = Amount(usd_nanos=USD_NANOS, tokens=TOKENS, model_calls=CALLS)
USED = Amount(usd_nanos=USED_USD_NANOS, tokens=USED_TOKENS, model_calls=CALLS)
EXPIRES_IN_MS = 120_000


def session_path(leaf: int) -> str:
    return f"session/bench/s-{leaf}"


class Ours:
    """A `Caller` over the ledger's wire."""

    def __init__(self, client: LedgerClient) -> None:
        self._client = client

    async def reserve(self, leaf: int) -> str:
        hold = self._client.next_id()
        answer = await self._client.reserve(wire.Reserve(hold, session_path(leaf), WANT, WANT, EXPIRES_IN_MS))
        if not isinstance(answer, wire.Granted):
            raise RefusedHere(answer.message)
        return hold

    async def settle(self, leaf: int, hold: str) -> None:
        await self._client.settle(wire.Settle(hold, USED))


@asynccontextmanager
async def connect(address: str) -> AsyncGenerator[Ours]:
    """`address` is the ledger's URL."""
    async with LedgerClient(address, lambda: "user-gateway") as client:
        yield Ours(client)
