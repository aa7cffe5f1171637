"""What a model call holds, from its bound to its end: the first hold, what it grows by, the most that it has cost.

For each attempt at one backend, by itself: what is known of a backend's calls says how much is held.
"""

import asyncio
import logging
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Final

from ambit.gateway import bounds, refusals
from ambit.gateway.admission import Admission
from ambit.gateway.bounds import CallBound
from ambit.gateway.exhausted import Exhausted
from ambit.gateway.holding_ahead.estimate import missing
from ambit.gateway.holds import Hold, Need
from ambit.gateway.identity.session_directory import Session
from ambit.gateway.models.wire_format import Billing, Call
from ambit.gateway.prefixes import WORTH_KNOWING_TOKENS, Place, Prefixes
from ambit.gateway.progressive import Caller, Cover, Ended, GrowingHold, Over, TypicalOutput, is_final
from ambit.gateway.progressive.typical import Key
from ambit.gateway.relay import CutCause, Ending, Relay, Relayed
from ambit.gateway.room_queue import RoomQueue
from ambit.gateway.settlements import Settlements
from ambit.gateway.warnings import Warnings
from ambit.ledger import wire
from ambit.ledger.amounts import Amount
from ambit.ledger.client import LedgerClient, LedgerError, LedgerUnavailable
from ambit.policy import RouteBinding

_log = logging.getLogger(__name__)
FINISH_AT_LEAST: Final = 3
"""So many streams of a namespace at a time hold their whole bound where there is room: whatever all of them write,
these finish. Where each held no more than calls before it needed, a day on which all write more would have all of them
take slices until nothing is left, and none finish."""
_CAUSES: Final = {Over.LOST: CutCause.HOLD_LOST, Over.USED_UP: CutCause.HOLD_USED_UP}


@dataclass(frozen=True, slots=True)
class _Price:
    """What output costs beside a call's input."""

    route: RouteBinding
    bounded: CallBound

    def amount(self, output_tokens: int) -> Amount:
        return bounds.worst(self.route, self.bounded.input_tokens, output_tokens, self.bounded.model_calls)

    def covered(self, held: Amount) -> int:
        return bounds.covered_output_tokens(self.route, self.bounded.input_tokens, held)


class CallHolds:
    """Takes the holds of model calls, and remembers what calls needed."""

    def __init__(
        self,
        ledger: LedgerClient,
        admission: Admission,
        settlements: Settlements,
        queue: RoomQueue,
        warnings: Warnings,
        *,
        hold_expires_in_ms: int,
    ) -> None:
        self._admission = admission
        self._settlements = settlements
        self._growing = _Growing(ledger, queue, warnings, admission.exhausted, hold_expires_in_ms)
        self._queue = queue
        self._typical = TypicalOutput()
        self._prefixes = Prefixes()

    async def take(
        self, session: Session, call: Call, route: RouteBinding, gone: asyncio.Future[None], *, counted: bool
    ) -> "HeldCall":
        """Holds what the call needs at first. `counted`: an attempt before has counted the call.

        Raises RefusedCall, and ClientGone.
        """
        kinds = _kinds(session, call, route)
        place, known_input_tokens = self._known_input(call, route)

        def bound_now() -> CallBound:
            bound = bounds.bound(
                call,
                route,
                self._typical.of(kinds),
                whole_at_once=self._growing.whole[session.namespace] < FINISH_AT_LEAST,
                known_input_tokens=known_input_tokens,
            )
            return bounds.counted_before(bound) if counted else bound

        def need_now() -> Need:
            """While it waits, others end, and tell how much such calls need."""
            nonlocal bounded
            bounded = bound_now()
            return Need(bounded.want, bounded.at_least, bounded.useful)

        bounded = bound_now()

        caller = Caller(session.path, session.parent, self._queue.arrived())
        hold = await self._admission.hold(session, bounded.want, bounded.at_least, gone, need_now=need_now)
        if bounded.grows and not hold.amount.covers(bounded.want):
            bounded, hold = await self._fitted(bounded, hold)
        learning = _Learning(self._typical, kinds, self._prefixes, place)
        return HeldCall(self._growing, learning, session, caller, call, route, bounded, hold)

    def _known_input(self, call: Call, route: RouteBinding) -> tuple[Place | None, int | None]:
        """Where the count of the call's prompt belongs, and the most that it will be, where that is known."""
        if call.prompt is None or (call.prompt_tokens_bound or 0) < WORTH_KNOWING_TOKENS:
            return None, None
        backend = f"{route.route} {route.backend} {route.model}"
        return self._prefixes.bound(backend, call.prompt(), route.prompt_overhead_tokens)

    async def _fitted(self, bounded: CallBound, hold: Hold) -> tuple[CallBound, Hold]:
        """A call that got less than it wanted: it grows where it is only others who are in the way. Where there will
        never be room for all of it, it is limited to what it has, so that its provider ends it and says what it used.
        """
        asked_at_s = asyncio.get_running_loop().time()
        more = missing(bounded.want, hold.amount)
        extend = wire.Extend(hold.id, hold.next_sequence, self._growing.expires_in_ms, more, more)
        try:
            answer = await self._growing.ledger.extend(extend)
        except (LedgerUnavailable, LedgerError, asyncio.CancelledError) as error:
            self._settlements.release(hold.id, "the call ended before it was sent")
            if isinstance(error, asyncio.CancelledError):
                raise
            raise refusals.ledger_away() from error
        if isinstance(answer, wire.Granted):
            return bounded, hold.extended(answer.amount, asked_at_s + self._growing.expires_in_ms / 1000)
        return (replace(bounded, grows=False) if is_final(answer, hold.amount) else bounded), hold


@dataclass(frozen=True, slots=True)
class _Learning:
    """What a call tells of those that are like it."""

    typical: TypicalOutput
    kinds: tuple[Key, ...]
    prefixes: Prefixes
    place: Place | None


@dataclass(frozen=True, slots=True)
class _Growing:
    """What growing takes."""

    ledger: LedgerClient
    queue: RoomQueue
    warnings: Warnings
    exhausted: Exhausted
    expires_in_ms: int
    whole: Counter[str] = field(default_factory=Counter[str])
    """By namespace, how many streams that could grow hold their whole bound."""


class HeldCall:
    """A call that is admitted, at one backend."""

    def __init__(
        self,
        growing: _Growing,
        learning: _Learning,
        session: Session,
        caller: Caller,
        call: Call,
        route: RouteBinding,
        bounded: CallBound,
        hold: Hold,
    ) -> None:
        self._with = growing
        self._learning = learning
        self._session = session
        self._caller = caller
        self._call = call
        self._route = route
        self._bounded = bounded
        self.hold = hold
        self.output_tokens = bounds.granted_output_tokens(call, route, bounded, hold.amount)
        """What each choice may write: what is written into the request."""
        self._growth: GrowingHold | None = None
        self._counted = False

    def follow(self, relay: Relay) -> None:
        """Keeps the hold alive, and grows it, while the answer is relayed, until `stop`."""
        bounded, call = self._bounded, self._call
        price = _Price(self._route, bounded)
        whole = call.choices * self.output_tokens
        held = whole if call.billing is not Billing.INPUT_AND_OUTPUT else price.covered(self.hold.amount)

        if held >= whole and bounds.can_be_metered(call, self._route):
            self._counted = True
            self._with.whole[self._session.namespace] += 1

        def over(ended: Ended) -> None:
            _log.warning("the call with hold %s is cut: %s", self.hold.id, ended.message)
            if ended.spent is not None:
                self._with.exhausted.cut(self._session, ended.spent)
            relay.cut(_CAUSES[ended.over])

        self._growth = GrowingHold(
            self._with.ledger,
            self._with.queue,
            self._with.warnings,
            self._caller,
            self.hold,
            Cover(min(held, whole), whole),
            price,
            expires_in_ms=self._with.expires_in_ms,
            over=over,
        )
        relay.follow(self._growth)

    def stop(self) -> None:
        """The answer is over."""
        if self._growth is not None:
            self._growth.stop()
        if self._counted:
            self._counted = False
            self._with.whole.subtract((self._session.namespace,))
            if not self._with.whole[self._session.namespace]:
                del self._with.whole[self._session.namespace]

    @property
    def at_most(self) -> Amount:
        """The most that the call can have cost by now: what is charged where its provider does not say."""
        if self._call.billing is Billing.NOTHING:
            return self._bounded.want
        whole = self._call.choices * self.output_tokens
        output = whole if self._growth is None else self._growth.most
        return _Price(self._route, self._bounded).amount(output)

    def learn(self, relayed: Relayed, cause: CutCause | None) -> None:
        """Remembers what the call needed, where that is known."""
        needed: int | None = None
        if cause is CutCause.HOLD_USED_UP:
            needed = self._call.choices * self.output_tokens
        elif relayed.ending is Ending.COMPLETED and relayed.usage is not None:
            shown = bounds.can_be_metered(self._call, self._route)
            needed = relayed.output_bound if shown else relayed.usage.output
        if needed is not None:
            self._learning.typical.note(self._learning.kinds, needed)
        if relayed.usage is not None and self._learning.place is not None:
            self._learning.prefixes.note(self._learning.place, relayed.usage.total - relayed.usage.output)


def _kinds(session: Session, call: Call, route: RouteBinding) -> tuple[Key, ...]:
    """What is known of calls like this: of those of its Agent, else of all to the backend. Streams whose output shows
    are counted by its bytes, others in tokens."""
    unit = "bytes" if bounds.can_be_metered(call, route) else "tokens"
    backend = (unit, str(route.route), route.backend)
    return ((*backend, session.parent), backend)
