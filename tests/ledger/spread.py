"""Trees in several partitions, and calls on them: what the tests of several writers share."""

import asyncio
import time
from dataclasses import dataclass, field

from ambit.ledger import wire
from ambit.ledger.amounts import Amount, Limit, Resource, Window
from ambit.ledger.client import Held, LedgerClient
from tests.ledger.server import Server
from tests.ledger.writers import HANG_S, PARTITIONS, Writers, budget_in

ONE = Amount(model_calls=1)


@dataclass
class Tree:
    """A root Budget, an Agent and a session of it."""

    partition: int
    name: str = "b"
    settled: int = 0
    progress: asyncio.Event = field(default_factory=asyncio.Event)
    done: bool = False
    longest_s: float = 0.0
    """The longest that one call took."""

    @property
    def budget(self) -> str:
        return budget_in(self.partition, self.name)

    @property
    def agent(self) -> str:
        return f"agent/n/{self.name}-{self.partition}"

    @property
    def session(self) -> str:
        return f"session/n/{self.name}-{self.partition}"

    async def make(self, operator: LedgerClient, calls: int) -> None:
        limits = (Limit(Window.LIFETIME, Resource.MODEL_CALLS, calls),)
        await operator.put_account(wire.PutAccount(self.budget, limits=limits))
        await operator.put_account(wire.PutAccount(self.agent, parent=self.budget))
        await operator.open(wire.Open(self.session, self.agent, grace_ms=3_600_000))

    async def call(self, client: LedgerClient) -> bool:
        """One call; False where there is no room for one."""
        began_s = time.monotonic()
        answer = await client.hold(self.session, ONE, ONE, 3_600_000)
        if not isinstance(answer, Held):
            return False
        await client.settle(wire.Settle(answer.id, ONE))
        self.longest_s = max(self.longest_s, time.monotonic() - began_s)
        self.settled += 1
        self.progress.set()
        return True

    async def calls(self, client: LedgerClient, count: int) -> None:
        for _ in range(count):
            assert await self.call(client)
        self.done = True
        self.progress.set()

    async def counted(self, client: LedgerClient) -> tuple[int, int]:
        """Calls spent and held."""
        usage = await client.usage(wire.GetUsage(self.budget))
        return usage.spent.model_calls, usage.held.model_calls


async def trees_in(found: Writers, calls: int, name: str = "b") -> list[Tree]:
    """One tree in each partition, with room for so many calls."""
    trees = [Tree(partition, name) for partition in range(PARTITIONS)]
    async with found.client("operator") as operator:
        for tree in trees:
            await tree.make(operator, calls)
    return trees


async def busiest(found: Writers) -> tuple[Server, set[int]]:
    """The ledger that writes most partitions, and which."""
    written = [await found.written(server) for server in found.servers]
    most = max(range(len(written)), key=lambda number: len(written[number]))
    return found.servers[most], written[most]


async def going_on(trees: list[Tree]) -> None:
    """Waits until each tree has had a call that began and ended from now on, or all of its calls."""
    for _ in range(2):
        for tree in trees:
            if not tree.done:
                tree.progress.clear()
        async with asyncio.timeout(HANG_S):
            await asyncio.gather(*(tree.progress.wait() for tree in trees))


async def all_of_it(loading: list[asyncio.Task[None]], trees: list[Tree], client: LedgerClient, calls: int) -> None:
    """Each tree took all its calls, each was charged once, and no call more is granted."""
    async with asyncio.timeout(3 * HANG_S):
        await asyncio.gather(*loading)
    assert [await tree.counted(client) for tree in trees] == [(calls, 0)] * len(trees)
    assert [await tree.call(client) for tree in trees] == [False] * len(trees)
