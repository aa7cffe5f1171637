"""Calls that wait for room: first come, first served, one queue for each account that is full.

Only the first of a queue asks the ledger again, at each settlement of this process, and at least a few times a second
for what others settle.
"""

import asyncio
from collections import deque
from typing import Final

ASK_AGAIN_S: Final = 0.2


class RoomQueue:
    """Who waits for which account. A caller enters, waits for its turns, and leaves."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[Ticket]] = {}
        self._blocked: dict[str, str] = {}
        self._freed = asyncio.Event()

    def enter(self, account: str, under: str) -> "Ticket":
        """Takes the last place in the queue of `account`; `under` is the account above the caller's session."""
        ticket = Ticket(account, under)
        self._queues.setdefault(account, deque()).append(ticket)
        self._blocked[under] = account
        return ticket

    def queue_ahead(self, under: str) -> str | None:
        """The full account that sessions under the same account are queueing for: a newcomer goes behind them."""
        return self._blocked.get(under)

    def leave(self, ticket: "Ticket") -> None:
        """Gives the place up; the next one's turn comes at once."""
        queue = self._queues[ticket.account]
        queue.remove(ticket)
        if not any(one.under == ticket.under for one in queue):
            self._blocked.pop(ticket.under, None)
        if not queue:
            del self._queues[ticket.account]
        self.freed()

    def freed(self) -> None:
        """Something was settled or released: the first of each queue has its turn."""
        self._freed.set()
        self._freed = asyncio.Event()

    async def turn(self, ticket: "Ticket", left_s: float) -> bool:
        """Waits until `ticket` may ask again; False once `left_s` is over."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + left_s
        while True:
            freed = self._freed
            left_s = deadline - loop.time()
            if left_s <= 0:
                return False
            try:
                async with asyncio.timeout(min(ASK_AGAIN_S, left_s)):
                    await freed.wait()
            except TimeoutError:
                pass  # nobody here settled; another process may have
            if self._queues[ticket.account][0] is ticket:
                return True

    @property
    def waiting(self) -> int:
        """How many wait in all."""
        return sum(len(queue) for queue in self._queues.values())


class Ticket:
    """A place in a queue."""

    __slots__ = ("account", "under")

    def __init__(self, account: str, under: str) -> None:
        self.account = account
        self.under = under
