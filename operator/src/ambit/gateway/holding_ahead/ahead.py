"""The holds ahead of this process: one for each session whose next call is likely.

Why a killed session's hold ahead admits nothing: its kill reaches this process as an event, upon which the hold is
given back before any later call can take it (one loop, no step between). Should events not come, `trusted` turns false
`TRUSTED_S` after the ledger's last word, and a hold taken then is asked about at the ledger, which knows of the kill.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

from ambit.gateway.holding_ahead.estimate import CALLS_REMEMBERED, likely_next
from ambit.gateway.holds import Hold
from ambit.gateway.settlements import Settlements
from ambit.gateway.warnings import Warnings
from ambit.ledger import wire
from ambit.ledger.amounts import Amount
from ambit.ledger.client import LedgerBusy, LedgerClient
from ambit.telemetry import metrics, tracing

UNUSED_S: Final = 15.0
"""After so long without a call the hold is given back."""
SILENCE_MS: Final = 25
"""How often the ledger is asked to say something when nothing happens."""
TRUSTED_S: Final = 0.075
"""For so long after the ledger's last word it is known that no session was killed unheard: three words late, and under
the 100 ms in which a kill takes effect."""
MAX_SESSIONS: Final = 50_000
"""How many sessions' calls are remembered; the one that called longest ago is forgotten first."""
_log = logging.getLogger(__name__)


class _Session:
    """What is known of one session."""

    __slots__ = ("asking", "awaited", "hold", "unused", "wanted")

    def __init__(self) -> None:
        self.wanted: deque[Amount] = deque(maxlen=CALLS_REMEMBERED)
        self.hold: Hold | None = None
        self.asking: asyncio.Future[wire.AnyResult] | None = None
        self.awaited = False
        """Whether a call waits for what is asked for; a second one does not."""
        self.unused: asyncio.TimerHandle | None = None


class HoldingAhead:
    """Holds for likely calls, and hands the holds to the calls that come. `heard` and `on_event` must be told.

    `held_up(session, parent)`: whether calls wait for room that this session would take, too.
    """

    def __init__(
        self,
        ledger: LedgerClient,
        settlements: Settlements,
        warnings: Warnings,
        *,
        hold_expires_in_ms: int,
        held_up: Callable[[str, str], bool],
        on: bool = True,
        unused_s: float = UNUSED_S,
        trusted_s: float = TRUSTED_S,
    ) -> None:
        self._ledger = ledger
        self._settlements = settlements
        self._warnings = warnings
        self._hold_expires_in_ms = hold_expires_in_ms
        self._held_up = held_up
        self._on = on
        # Long before it expires, so that a call which takes it at the last moment has time to keep it.
        self._unused_s = min(unused_s, hold_expires_in_ms / 3000)
        self._trusted_s = trusted_s
        self._sessions: dict[str, _Session] = {}
        self._typical: dict[str, Amount] = {}
        """By a session's parent, what its latest call wanted: all that is known of a session that just opened."""
        self._by_hold: dict[str, str] = {}
        """The session of each hold that is not in use."""
        self._asking: set[asyncio.Future[wire.AnyResult]] = set()
        self._heard_at_s = float("-inf")
        self._stopped = False

    # -- calls -------------------------------------------------------------
    @property
    def trusted(self) -> bool:
        """Whether a hold ahead may admit a call without asking the ledger."""
        return asyncio.get_running_loop().time() - self._heard_at_s <= self._trusted_s

    def take(self, session: str) -> Hold | None:
        """The session's hold ahead: in use from now on, and the caller's to settle, release or extend."""
        known = self._sessions.get(session)
        if known is None or known.hold is None:
            return None
        return self._remove(known, known.hold)

    def asked_for(self, session: str) -> asyncio.Future[wire.AnyResult] | None:
        """What is being asked for at this moment, for the one call that may wait for it; then `take`."""
        known = self._sessions.get(session)
        if known is None or known.asking is None or known.awaited:
            return None
        known.awaited = True
        return known.asking

    def called(self, session: str, parent: str, want: Amount) -> None:
        """A call of the session is being made, and this is what it wants held."""
        if not self._on:
            return
        known = self._sessions.pop(session, None) or _Session()
        self._sessions[session] = known  # the latest, hence the last to be forgotten
        known.wanted.append(want)
        if len(self._sessions) > MAX_SESSIONS:
            self._forget(next(iter(self._sessions)), "many other sessions called since")
        if len(self._typical) >= MAX_SESSIONS and parent not in self._typical:
            del self._typical[next(iter(self._typical))]
        self._typical[parent] = want

    def ended(self, session: str, parent: str) -> None:
        """A call of the session has ended: its next one may come."""
        known = self._sessions.get(session)
        if known is not None:
            self._ask(session, parent, known, likely_next(known.wanted))

    def opened(self, session: str, parent: str) -> None:
        """The session was opened, and its first call may come."""
        typical = self._typical.get(parent)
        if self._on and typical is not None and session not in self._sessions:
            self._sessions[session] = known = _Session()
            self._ask(session, parent, known, likely_next((typical,)))

    # -- the ledger's word ---------------------------------------------------
    def heard(self) -> None:
        """The ledger said something, and all that it said before has been handled."""
        self._heard_at_s = asyncio.get_running_loop().time()

    def on_event(self, event: wire.AnyEvent) -> None:
        """Gives back what is recalled, what is of a session that ended, and everything where events were missed."""
        match event:
            case wire.SessionKilled() | wire.SessionEnded():
                self._forget(event.path, "the session ended")
            case wire.Recalled():
                for hold in event.ids:
                    self._give_back(hold, "Recalled", "the ledger recalled it")
            case wire.Resynchronised():
                self.give_back_all("events may have been missed")
            case _:
                pass

    def give_back_all(self, why: str) -> None:
        """Gives back every hold that is not in use."""
        for hold in tuple(self._by_hold):
            self._give_back(hold, "Resynchronised", why)

    async def stop(self, timeout_s: float) -> None:
        """The process ends: nothing more is held ahead, and what is not in use is given back, also what is still being
        asked for: its answer is waited for, at most so long.
        """
        self._stopped = True
        for session in tuple(self._sessions):
            self._forget(session, "the gateway stops")
        if self._asking:
            await asyncio.wait(tuple(self._asking), timeout=timeout_s)

    @property
    def unused(self) -> int:
        """How many holds ahead are not in use."""
        return len(self._by_hold)

    # -- how ---------------------------------------------------------------
    def _ask(self, session: str, parent: str, known: _Session, likely: Amount | None) -> None:
        if not self._on or self._stopped or likely is None or known.hold is not None or known.asking is not None:
            return
        if self._held_up(session, parent):
            return  # whoever waits comes first
        asked_at_s = asyncio.get_running_loop().time()
        hold_id = self._ledger.next_id()
        reserve = wire.Reserve(hold_id, session, likely, likely, self._hold_expires_in_ms, speculative=True)
        with tracing.apart():  # a call's trace ends with the call, and this hold lives on
            try:
                known.asking = self._ledger.post(reserve)
            except LedgerBusy:
                return
            self._asking.add(known.asking)
            known.asking.add_done_callback(partial(self._answered, session, known, hold_id, asked_at_s))

    def _answered(
        self, session: str, known: _Session, hold_id: str, asked_at_s: float, asked: asyncio.Future[wire.AnyResult]
    ) -> None:
        self._asking.discard(asked)
        known.asking, known.awaited = None, False
        if asked.cancelled():
            return
        result = asked.result()
        metrics.GATEWAY_HOLDS_AHEAD_ASKED.labels(type(result).__name__).inc()
        if not isinstance(result, wire.Granted):
            return  # no room to spare, or an older ledger: the next call asks for itself
        self._warnings.add(session, result.warnings)
        loop = asyncio.get_running_loop()
        if self._sessions.get(session) is not known or loop.time() - asked_at_s > self._unused_s:
            self._settlements.release(hold_id, "held ahead; the session ended meanwhile, or the answer came late")
            return
        known.hold = Hold(hold_id, result.amount, asked_at_s + self._hold_expires_in_ms / 1000)
        self._by_hold[hold_id] = session
        give_back = partial(self._give_back, hold_id, "Unused", "held ahead, and not used")
        known.unused = loop.call_later(self._unused_s, give_back)

    def _give_back(self, hold_id: str, cause: str, why: str) -> None:
        session = self._by_hold.get(hold_id)
        known = None if session is None else self._sessions.get(session)
        if known is None or known.hold is None:
            return  # in use, or given back before
        self._settlements.release(self._remove(known, known.hold).id, why)
        metrics.GATEWAY_HOLDS_AHEAD_GIVEN_BACK.labels(cause).inc()

    def _remove(self, known: _Session, hold: Hold) -> Hold:
        known.hold = None
        if known.unused is not None:
            known.unused.cancel()
            known.unused = None
        del self._by_hold[hold.id]
        return hold

    def _forget(self, session: str, why: str) -> None:
        known = self._sessions.get(session)
        if known is None:
            return
        if known.hold is not None:
            self._give_back(known.hold.id, "SessionEnded", why)
        del self._sessions[session]
