"""What all holders have in common: one process, one production client, and a share in the run."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

import msgspec

from ambit.ledger import wire
from ambit.ledger.client import LedgerClient
from tests.ledger_simulation.books import Act, Books
from tests.ledger_simulation.loop import Process
from tests.ledger_simulation.network import Network
from tests.ledger_simulation.setting import Setting


class Day(Protocol):
    """What the run is to its holders."""

    restores: int
    """How often the ledger was restored from a backup."""

    def more(self) -> bool:
        """Whether another operation is to be asked."""
        ...

    async def turn(self, process: Process) -> None:
        """Waits where the run wants quiet; from then on, something may go wrong."""
        ...

    def done(self, process: Process) -> None:
        """The operation that `turn` allowed is over."""
        ...

    def fail(self, what: str) -> None:
        """A rule is broken."""
        ...

    def was_folded(self, session: str) -> bool:
        """Whether the ledger has forgotten a session of that name."""
        ...

    def say(self, who: str, what: str) -> None:
        """For the trace."""
        ...


@dataclass(frozen=True, slots=True)
class Left:
    """An act that is over, and not reported yet."""

    act: Act
    at_s: float
    """When it was left, by the loop's time."""


@dataclass(slots=True)
class Shared:
    """What all holders of a run share."""

    day: Day
    setting: Setting
    books: Books
    random: Random
    sessions: list[str]
    """Those that were opened."""
    live: list[str]
    """Those of which nobody has heard that they are over."""
    ready: asyncio.Event
    """The tree is made."""
    late: Random
    """What comes late is drawn from it."""
    left: list[Left] = field(default_factory=list[Left])
    """To be reported by whoever comes to it."""
    opened: int = 0
    named: int = 0

    def over(self, session: str) -> None:
        """Somebody heard that a session is over. At times it is asked of all the same."""
        if session in self.live and self.random.random() < 0.8:
            self.live.remove(session)


class Holder:
    """One process that speaks with the ledger through the production client."""

    def __init__(self, name: str, component: str, shared: Shared, network: Network) -> None:
        self.process = Process(name)
        self.process.owner = self
        self._component = component
        self._shared = shared
        self._random = shared.random
        self._network = network
        chance = Random(shared.random.getrandbits(64))
        self.client = LedgerClient.over(self._exchange, _no_events, chance=chance)

    async def _exchange(self, body: bytes) -> bytes:
        answer = await self._network.exchange(self.process.name, self._component, body)
        self._shared.books.heard(_operations.decode(body).ops, _results.decode(answer).results)
        return answer

    def say(self, what: str) -> None:
        self._shared.day.say(self.process.name, what)


_operations = msgspec.json.Decoder(wire.Operations)
_results = msgspec.json.Decoder(wire.Results)


async def _no_events(silence_ms: int | None, heard: Callable[[], None]) -> AsyncGenerator[wire.AnyEvent]:
    await asyncio.get_running_loop().create_future()
    raise AssertionError("nobody is told anything")
    yield
