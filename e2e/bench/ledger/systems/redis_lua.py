"""The usual way with Redis: a script that checks every level and increments, kept by `appendfsync always`.

As good as we could make it: one pipelined connection a process, so that Redis syncs once for all that wait. It keeps no
hold that expires, no windows, no identity of a repeat: an answer that is lost is a hold that is lost.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import cast

from e2e.bench.ledger.systems import CALLS, LIMIT, TOKENS, USD_NANOS, USED_TOKENS, USED_USD_NANOS, RefusedHere

RESERVE = f"""
for level = 1, 4 do
  local now = redis.call('HMGET', KEYS[level], 'su', 'hu', 'st', 'ht', 'sc', 'hc')
  for i = 1, 3 do
    if (tonumber(now[2 * i - 1]) or 0) + (tonumber(now[2 * i]) or 0) + tonumber(ARGV[i]) > {LIMIT} then return 0 end
  end
end
for level = 1, 4 do
  redis.call('HINCRBY', KEYS[level], 'hu', ARGV[1])
  redis.call('HINCRBY', KEYS[level], 'ht', ARGV[2])
  redis.call('HINCRBY', KEYS[level], 'hc', ARGV[3])
end
return 1
"""
SETTLE = """
for level = 1, 4 do
  redis.call('HINCRBY', KEYS[level], 'hu', -ARGV[1])
  redis.call('HINCRBY', KEYS[level], 'ht', -ARGV[2])
  redis.call('HINCRBY', KEYS[level], 'hc', -ARGV[3])
  redis.call('HINCRBY', KEYS[level], 'su', ARGV[4])
  redis.call('HINCRBY', KEYS[level], 'st', ARGV[5])
  redis.call('HINCRBY', KEYS[level], 'sc', ARGV[3])
end
return 1
"""
ABOVE = ("organisation", "team", "agent")


def command(*words: str) -> bytes:
    """A command as Redis's protocol writes it."""
    parts = [f"*{len(words)}\r\n"]
    parts.extend(f"${len(word.encode())}\r\n{word}\r\n" for word in words)
    return "".join(parts).encode()


class Connection(asyncio.Protocol):
    """One pipelined connection. Every answer to our scripts is one line."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[bytes]] = deque()
        self._rest = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\r\n")
        for line in lines:
            if not line.startswith(b"$"):  # the length of a text answer: its line follows
                self._waiting.popleft().set_result(line)

    def connection_lost(self, exc: Exception | None) -> None:
        for waiting in self._waiting:
            waiting.set_exception(ConnectionError("Redis closed the connection"))

    async def ask(self, *words: str) -> bytes:
        """The answer to one command. Raises RefusedHere where it is an error."""
        assert self._transport is not None
        waiting: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        self._transport.write(command(*words))
        answer = await waiting
        if answer.startswith(b"-"):
            raise RefusedHere(answer.decode())
        return answer


class RedisLua:
    """A `Caller` that runs the two scripts by their digests."""

    def __init__(self, connection: Connection, reserve: str, settle: str) -> None:
        self._connection = connection
        self._reserve = reserve
        self._settle = settle

    async def reserve(self, leaf: int) -> str:
        answer = await self._connection.ask(
            "EVALSHA", self._reserve, "4", *ABOVE, f"s-{leaf}", str(USD_NANOS), str(TOKENS), str(CALLS)
        )
        if answer != b":1":
            raise RefusedHere("no room")
        return ""

    async def settle(self, leaf: int, hold: str) -> None:
        amounts = map(str, (USD_NANOS, TOKENS, CALLS, USED_USD_NANOS, USED_TOKENS))
        await self._connection.ask("EVALSHA", self._settle, "4", *ABOVE, f"s-{leaf}", *amounts)


@asynccontextmanager
async def connect(address: str) -> AsyncGenerator[RedisLua]:
    """`address` is HOST:PORT."""
    host, _, port = address.rpartition(":")
    transport, connection = await asyncio.get_running_loop().create_connection(Connection, host, int(port))
    try:
        reserve = await connection.ask("SCRIPT", "LOAD", RESERVE)
        settle = await connection.ask("SCRIPT", "LOAD", SETTLE)
        yield RedisLua(connection, reserve.decode(), settle.decode())
    finally:
        transport.close()
