"""Calls that wait for room, to begin or to go on: first come, first served among those whom the same full account holds
up, and those that go on before those that begin. Of calls that begin, those of one session take turns with those of
others: a session that asks for much at a time has its second call served after the first of everybody else.

A call waits for the account that the ledger named, and only calls which that account bounds wait behind it: those of
the same session where it is the session's own, and else those of every session under it. Only the first asks the ledger
again, at each settlement of this process, and at least a few times a second for what others settle. A call whose
session has ended waits for nobody: it asks at once, and is told how the session ended.
"""

import asyncio
from bisect import insort
from collections import Counter
from typing import Final

ASK_AGAIN_S: Final = 0.2
ENDED_REMEMBERED: Final = 10_000
BEFORE_ALL_WHO_BEGIN: Final = 2**62


class RoomQueue:
    """Who waits for which account. A caller enters, waits for its turns, moves where the ledger says, and leaves."""

    def __init__(self) -> None:
        self._queues: dict[str, list[Ticket]] = {}
        """By the account that is waited for, the oldest first."""
        self._full_above: dict[str, Counter[str]] = {}
        """By a session's parent, the accounts for which sessions under it wait, and how many calls do."""
        self._rounds: dict[str, int] = {}
        """By account, in which round the last call was served: one call of each session that waits is a round."""
        self._turns: dict[tuple[str, str], tuple[int, int]] = {}
        """By account and session, how many of its calls wait to begin, and in which round the last of them is."""
        self._arrivals = 0
        self._ended: dict[str, None] = {}
        """The last sessions that ended, oldest first: the ledger's word may be here before its answer to a call."""

    def account_in_the_way(self, session: str, parent: str) -> str | None:
        """The account that a newcomer of `session`, which is under `parent`, queues for: the nearest of those that
        bound it and are waited for. None where there is none; what others under the same parent wait for is known to
        bound it.
        """
        if session in self._queues:
            return session
        full = self._full_above.get(parent, ())
        return parent if parent in full else next(iter(full), None)

    def arrived(self) -> int:
        """The number of a call that has come: the lower, the older."""
        self._arrivals += 1
        return self._arrivals

    def enter(self, account: str, session: str, parent: str) -> "Ticket":
        """Takes the last place among those who wait for `account`, the session's own or one above it."""
        return self._enter(Ticket(self.arrived(), account, session, parent))

    def enter_under_way(self, account: str, session: str, parent: str, arrival: int) -> "Ticket":
        """Takes a place among the streams that wait for `account` to go on, which come before all calls that wait to
        begin; `arrival` is its number from when it was such a call: the oldest stream comes first.
        """
        return self._enter(Ticket(arrival - BEFORE_ALL_WHO_BEGIN, account, session, parent))

    def _enter(self, ticket: "Ticket") -> "Ticket":
        self._add(ticket)
        if ticket.session in self._ended:
            ticket.session_has_ended = True
            ticket.woken.set()
        return ticket

    def move(self, ticket: "Ticket", account: str) -> None:
        """Another account is in the way now: the ticket keeps its age there, and holds nobody up where it was."""
        if account == ticket.account:
            return
        self._remove(ticket)
        ticket.account = account
        self._add(ticket)
        self.freed()
        ticket.woken.clear()  # it has asked

    def leave(self, ticket: "Ticket") -> None:
        """Gives the place up; the next one's turn comes at once."""
        if self._queues[ticket.account][0] is ticket and ticket.round >= 0:
            self._rounds[ticket.account] = ticket.round
        self._remove(ticket)
        self.freed()

    def freed(self) -> None:
        """Something was settled or released: the first of each queue has its turn."""
        for queue in self._queues.values():
            queue[0].woken.set()

    def session_ended(self, session: str) -> None:
        """Each of its calls has its turn now, whoever is ahead."""
        self._ended[session] = None
        if len(self._ended) > ENDED_REMEMBERED:
            del self._ended[next(iter(self._ended))]
        for queue in self._queues.values():
            for ticket in queue:
                if ticket.session == session:
                    ticket.session_has_ended = True
                    ticket.woken.set()

    def may_ask(self, ticket: "Ticket") -> bool:
        """Whether it is the first of its queue, and the first of those who wait for an account farther up; or its
        session has ended.

        Whoever waits for a nearer account holds nobody up here: most who are behind this ticket are not under that one.
        """
        if ticket.session_has_ended or ticket.is_gone:
            return True
        if self._queues[ticket.account][0] is not ticket:
            return False
        distance = ticket.distance(ticket.account)
        return all(
            self._queues[account][0].arrival > ticket.arrival
            for account in self._full_above.get(ticket.parent, ())
            if ticket.distance(account) > distance
        )

    async def turn(self, ticket: "Ticket", left_s: float) -> bool:
        """Waits until `ticket` may ask again; False once `left_s` is over."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + left_s
        while True:
            left_s = deadline - loop.time()
            if left_s <= 0:
                return False
            first = self._queues[ticket.account][0] is ticket
            try:
                async with asyncio.timeout(min(ASK_AGAIN_S, left_s) if first else left_s):
                    await ticket.woken.wait()
            except TimeoutError:
                pass  # nobody here settled; another process may have
            ticket.woken.clear()
            if self.may_ask(ticket):
                return True

    @property
    def waiting(self) -> int:
        """How many wait in all."""
        return sum(len(queue) for queue in self._queues.values())

    def _add(self, ticket: "Ticket") -> None:
        queue = self._queues.setdefault(ticket.account, [])
        ticket.round = self._round_of(ticket)
        insort(queue, ticket, key=lambda one: (one.round, one.arrival))
        if ticket.account != ticket.session:
            self._full_above.setdefault(ticket.parent, Counter())[ticket.account] += 1

    def _round_of(self, ticket: "Ticket") -> int:
        """The round that is being served, or the one after the last in which the session waits already."""
        if ticket.arrival < 0:
            return -1  # it goes on
        served, session = self._rounds.get(ticket.account, 0), (ticket.account, ticket.session)
        waiting, last = self._turns.get(session, (0, served - 1))
        self._turns[session] = (waiting + 1, max(served, last + 1))
        return self._turns[session][1]

    def _remove(self, ticket: "Ticket") -> None:
        queue = self._queues[ticket.account]
        queue.remove(ticket)
        if ticket.round >= 0:
            session = (ticket.account, ticket.session)
            waiting, last = self._turns.pop(session)
            if waiting > 1:
                self._turns[session] = (waiting - 1, last)
        if not queue:
            del self._queues[ticket.account]
            self._rounds.pop(ticket.account, None)
        if ticket.account != ticket.session:
            full = self._full_above[ticket.parent]
            full[ticket.account] -= 1
            if not full[ticket.account]:
                del full[ticket.account]
            if not full:
                del self._full_above[ticket.parent]


class Ticket:
    """A place in a queue."""

    __slots__ = ("account", "arrival", "gone", "parent", "round", "session", "session_has_ended", "woken")

    def __init__(self, arrival: int, account: str, session: str, parent: str) -> None:
        self.arrival = arrival
        self.round = 0
        self.account = account
        self.session = session
        self.parent = parent
        self.session_has_ended = False
        self.gone: asyncio.Future[None] | None = None
        """Done once the client has closed its connection: then it waits for nobody, and leaves."""
        self.woken = asyncio.Event()
        """Its turn may have come: it is the first of its queue and something was freed, or its session has ended."""

    @property
    def is_gone(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self.gone is not None and self.gone.done()

    def distance(self, account: str) -> int:
        """How far up an account is that bounds this session; what is above its parent is not told apart."""
        return 0 if account == self.session else 1 if account == self.parent else 2
