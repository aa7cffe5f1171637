"""The network between holders and the ledger: it loses, repeats, delays and reorders, and drops answers on the way."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

from ambit.ledger.transport import AttemptFailed
from tests.ledger_simulation.faults import Faults
from tests.ledger_simulation.loop import Process, SimulatedLoop
from tests.ledger_simulation.trace import Trace

MESSAGE_S = 0.0005
LATE_S = 6.0
"""Longer than an attempt: a late request is answered to nobody, after its repeat was."""

Answer = Callable[[str, bytes], Awaitable[bytes]]
"""What a ledger says to a component's batch. Raises `Refusing` where it answers with an error."""


class Refusing(Exception):
    """The ledger answers, but not what was asked: it starts, stops, or is not the writer."""


class Network:
    """Carries batches to whichever ledger `reach` names: its process and how to ask it. None: nobody listens."""

    def __init__(
        self,
        loop: SimulatedLoop,
        faults: Faults,
        random: Random,
        trace: Trace,
        reach: Callable[[], tuple[Process, Answer] | None],
    ) -> None:
        self._loop = loop
        self._faults = faults
        self._random = random
        self._trace = trace
        self._reach = reach
        self._open: dict[Process, list[asyncio.Future[bytes]]] = {}

    async def exchange(self, holder: str, component: str, body: bytes) -> bytes:
        """One attempt of a holder. Raises AttemptFailed. What is lost never ends: the holder has to lose patience."""
        faults, random = self._faults, self._random.random
        answer: asyncio.Future[bytes] = self._loop.create_future()
        if faults.lost_request and random() < faults.lost_request:
            self._say(holder, "request lost")
        else:
            self._send(component, body, answer)
        if faults.repeated_request and random() < faults.repeated_request:
            self._say(holder, "request repeated by the network")
            self._send(component, body, self._loop.create_future())
        return await answer

    def _send(self, component: str, body: bytes, answer: asyncio.Future[bytes]) -> None:
        self._loop.later(self._delay_s(), self._arrive, component, body, answer)

    def _arrive(self, component: str, body: bytes, answer: asyncio.Future[bytes]) -> None:
        reached = self._reach()
        if reached is None:
            _fail(answer, "nobody listens")
            return
        process, ask = reached
        self._open.setdefault(process, []).append(answer)
        self._loop.spawn(process, self._serve(process, ask, component, body, answer), "request")

    async def _serve(
        self, process: Process, ask: Answer, component: str, body: bytes, answer: asyncio.Future[bytes]
    ) -> None:
        try:
            answered = await ask(component, body)
        except Refusing as error:
            _fail(answer, str(error))
            return
        if self._faults.lost_answer and self._random.random() < self._faults.lost_answer:
            self._say(process.name, "answer lost")
            return
        self._loop.later(self._delay_s(), _deliver, answer, answered)

    def disconnected(self, process: Process) -> None:
        """A process is gone: whoever waits for it learns so."""
        for answer in self._open.pop(process, ()):
            if not answer.done():
                self._loop.later(self._delay_s(), _fail, answer, "connection reset")

    def _delay_s(self) -> float:
        random = self._random.random
        if self._faults.late and random() < self._faults.late:
            return LATE_S * random()
        return MESSAGE_S * (0.5 + random())

    def _say(self, who: str, what: str) -> None:
        if self._trace.wanted:
            self._trace(who, what)


def _deliver(answer: asyncio.Future[bytes], answered: bytes) -> None:
    if not answer.done():
        answer.set_result(answered)


def _fail(answer: asyncio.Future[bytes], why: str) -> None:
    if not answer.done():
        answer.set_exception(AttemptFailed(why))
        answer.exception()  # read: its holder may be dead
