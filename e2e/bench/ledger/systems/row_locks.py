"""The usual way with a database: a transaction for each request, which locks the rows of the path and counts there.

As good as we could make it: one round trip (a function in the server), the rows locked in one order so that nothing
deadlocks, one connection a caller. It keeps no hold that expires, no windows, no identity of a repeat.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import psycopg

from e2e.bench.ledger.systems import CALLS, LIMIT, TOKENS, USD_NANOS, USED_TOKENS, USED_USD_NANOS, RefusedHere

CONNECTIONS = 64
LEVELS_ABOVE = 3
SCHEMA = f"""
CREATE TABLE account (
  id bigint PRIMARY KEY,
  spent_usd bigint NOT NULL DEFAULT 0, held_usd bigint NOT NULL DEFAULT 0,
  spent_tokens bigint NOT NULL DEFAULT 0, held_tokens bigint NOT NULL DEFAULT 0,
  spent_calls bigint NOT NULL DEFAULT 0, held_calls bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
CREATE FUNCTION reserve(leaf bigint, usd bigint, tokens bigint, calls bigint) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE room boolean;
BEGIN
  PERFORM 1 FROM account WHERE id IN (1, 2, 3, leaf) ORDER BY id FOR UPDATE;
  SELECT bool_and(spent_usd + held_usd + usd <= {LIMIT} AND spent_tokens + held_tokens + tokens <= {LIMIT}
    AND spent_calls + held_calls + calls <= {LIMIT}) INTO room FROM account WHERE id IN (1, 2, 3, leaf);
  IF room THEN
    UPDATE account SET held_usd = held_usd + usd, held_tokens = held_tokens + tokens, held_calls = held_calls + calls
      WHERE id IN (1, 2, 3, leaf);
  END IF;
  RETURN room;
END $$;
CREATE FUNCTION settle(leaf bigint, usd bigint, tokens bigint, calls bigint, used_usd bigint, used_tokens bigint)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM 1 FROM account WHERE id IN (1, 2, 3, leaf) ORDER BY id FOR UPDATE;
  UPDATE account SET held_usd = held_usd - usd, held_tokens = held_tokens - tokens, held_calls = held_calls - calls,
    spent_usd = spent_usd + used_usd, spent_tokens = spent_tokens + used_tokens, spent_calls = spent_calls + calls
    WHERE id IN (1, 2, 3, leaf);
END $$;
"""


async def set_up(address: str, leaves: int) -> None:
    """Makes the tables and the accounts."""
    async with await psycopg.AsyncConnection.connect(address, autocommit=True) as connection:
        await connection.execute(SCHEMA.encode())
        await connection.execute(
            "INSERT INTO account (id) SELECT generate_series(1, %s)", (LEVELS_ABOVE + leaves,), prepare=False
        )


class RowLocks:
    """A `Caller` with a connection for each that is under way."""

    def __init__(self, idle: asyncio.Queue[psycopg.AsyncConnection]) -> None:
        self._idle = idle

    async def reserve(self, leaf: int) -> str:
        connection = await self._idle.get()
        try:
            cursor = await connection.execute(
                "SELECT reserve(%s, %s, %s, %s)", (LEVELS_ABOVE + 1 + leaf, USD_NANOS, TOKENS, CALLS), prepare=True
            )
            row = await cursor.fetchone()
        finally:
            self._idle.put_nowait(connection)
        if row is None or not row[0]:
            raise RefusedHere("no room")
        return ""

    async def settle(self, leaf: int, hold: str) -> None:
        connection = await self._idle.get()
        try:
            await connection.execute(
                "SELECT settle(%s, %s, %s, %s, %s, %s)",
                (LEVELS_ABOVE + 1 + leaf, USD_NANOS, TOKENS, CALLS, USED_USD_NANOS, USED_TOKENS),
                prepare=True,
            )
        finally:
            self._idle.put_nowait(connection)


@asynccontextmanager
async def connect(address: str) -> AsyncGenerator[RowLocks]:
    """`address` is a libpq connection string."""
    idle: asyncio.Queue[psycopg.AsyncConnection] = asyncio.Queue()
    connections = [await psycopg.AsyncConnection.connect(address, autocommit=True) for _ in range(CONNECTIONS)]
    for connection in connections:
        idle.put_nowait(connection)
    try:
        yield RowLocks(idle)
    finally:
        for connection in connections:
            await connection.close()
