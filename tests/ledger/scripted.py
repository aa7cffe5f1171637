"""A ledger's side of the exchange that answers as a test says, and the client that speaks with it."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from random import Random

import msgspec

from ambit.ledger import wire
from ambit.ledger.amounts import Amount
from ambit.ledger.client import LedgerClient
from ambit.ledger.subscription import Heard
from ambit.ledger.transport import AttemptFailed

ONE = Amount(model_calls=1)
SESSION = "session/n/s"
Answer = Callable[[wire.AnyOperation], wire.AnyResult]
_operations = msgspec.json.Decoder(wire.Operations)


def grant(op: wire.AnyOperation) -> wire.AnyResult:
    """What a ledger with room for everything answers."""
    match op:
        case wire.Reserve() | wire.Extend():
            return wire.Granted(op.want)
        case wire.Settle():
            return wire.Settled()
        case wire.Release():
            return wire.Released()
        case wire.GetUsage():
            return wire.Usage(op.path, wire.State.OPEN)
        case _:
            raise AssertionError(f"not scripted: {op}")


class ScriptedLedger:
    """Takes batches one after the other. A test can hold answers back, lose them, and say what they are."""

    def __init__(self, answer: Answer = grant) -> None:
        self.answer = answer
        self.batches: list[list[wire.AnyOperation]] = []
        self.lose = 0
        """So many of the next attempts fail after they were taken."""
        self._open = asyncio.Event()
        self._open.set()
        self._arrived = asyncio.Event()

    def hold_back(self) -> None:
        """From now on no attempt is answered."""
        self._open.clear()

    def let_go(self) -> None:
        """Answers again."""
        self._open.set()

    async def arrived(self, attempts: int) -> None:
        """Waits until so many attempts have been made in all."""
        while len(self.batches) < attempts:
            self._arrived.clear()
            await self._arrived.wait()

    async def exchange(self, body: bytes) -> bytes:
        ops = _operations.decode(body).ops
        self.batches.append(ops)
        self._arrived.set()
        await self._open.wait()
        if self.lose:
            self.lose -= 1
            raise AttemptFailed("lost on the way")
        return msgspec.json.encode(wire.Results([self.answer(op) for op in ops]))

    async def events(self, silence_ms: int | None, heard: Heard) -> AsyncGenerator[wire.AnyEvent]:
        yield wire.Resynchronised()
        heard()

    def client(self, deadline_s: float = 10.0) -> LedgerClient:
        """A client whose holder is always the same."""
        return LedgerClient.over(self.exchange, self.events, chance=Random(1), deadline_s=deadline_s)

    @property
    def ops(self) -> list[wire.AnyOperation]:
        """All that arrived, in order."""
        return [op for batch in self.batches for op in batch]


def kinds(ops: list[wire.AnyOperation]) -> list[str]:
    """What kinds of operations these are."""
    return [type(op).__name__ for op in ops]


def number(op: wire.AnyOperation) -> int:
    """The sequence in the id of a hold."""
    assert isinstance(op, wire.Reserve | wire.Extend | wire.Settle | wire.Release)
    return int(op.id.rpartition("#")[2])
