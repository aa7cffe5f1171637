"""Reserve before the call: the hold is journalled at the ledger before anything is sent."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Final

from ambit.gateway import refusals
from ambit.gateway.exhausted import Exhausted
from ambit.gateway.holding_ahead import HoldingAhead
from ambit.gateway.holding_ahead.estimate import missing
from ambit.gateway.holds import Hold, Need
from ambit.gateway.identity.session_directory import Session
from ambit.gateway.models.wire_format import RefusedCall
from ambit.gateway.room_queue import RoomQueue
from ambit.gateway.settlements import Settlements
from ambit.gateway.warnings import Warnings
from ambit.ledger import wire
from ambit.ledger.amounts import Amount
from ambit.ledger.client import DEADLINE_S, AccountUnknown, Held, LedgerClient, LedgerError, LedgerUnavailable
from ambit.telemetry import metrics, tracing
from ambit.telemetry.reasons import Refusal
from ambit.telemetry.tracing import Attribute, HoldFrom, SpanEvent, SpanName

QUEUE_S: Final = 20.0
_NOTHING: Final = Amount()
_FOUND: Final = metrics.GATEWAY_HOLDS_AHEAD.labels("Found")
_AWAITED: Final = metrics.GATEWAY_HOLDS_AHEAD.labels("Awaited")
"""Bound once: looking a label up costs as much as the rest of the decision."""


class ClientGone(Exception):
    """The client went away before anything was held for it."""


class Admission:
    """Takes holds for this process: the one that is held ahead where there is one, and else one at the ledger."""

    def __init__(
        self,
        ledger: LedgerClient,
        settlements: Settlements,
        queue: RoomQueue,
        ahead: HoldingAhead,
        warnings: Warnings,
        *,
        hold_expires_in_ms: int,
        utc_now: Callable[[], datetime],
        queue_s: float = QUEUE_S,
    ) -> None:
        self._ledger = ledger
        self._settlements = settlements
        self._queue = queue
        self._ahead = ahead
        self._warnings = warnings
        self._hold_expires_in_ms = hold_expires_in_ms
        self._utc_now = utc_now
        self._queue_s = queue_s
        self.exhausted = Exhausted(ledger)
        """Has to be told of the ledger's events."""

    async def hold(
        self,
        session: Session,
        want: Amount,
        at_least: Amount,
        gone: asyncio.Future[None],
        *,
        need_now: Callable[[], Need] | None = None,
    ) -> Hold:
        """Holds at least `at_least` and at most `want`, or more where more was held ahead; waits in the queue for room
        that others hold. `need_now` is asked again while it waits, and may say how much would be useful: so much is
        waited for, and less is taken only where what is *spent* leaves less.

        Raises RefusedCall where a bound, the session's end, or the ledger's absence stands in the way, and ClientGone.
        """
        with tracing.part(SpanName.ADMISSION):
            return await self._hold(session, need_now or (lambda: Need(want, at_least, at_least)), gone)

    async def _hold(self, session: Session, need_now: Callable[[], Need], gone: asyncio.Future[None]) -> Hold:
        need = need_now()
        want = need.want
        cut = self.exhausted.after_a_cut(session)
        if cut is not None:
            raise refusals.refused(cut, self._utc_now())
        self._ahead.called(session.path, session.parent, want)
        hold = self._ahead.take(session.path)
        found, how = _FOUND, HoldFrom.FOUND
        if hold is None and (asked := self._ahead.asked_for(session.path)) is not None:
            await asyncio.wait((asked,), timeout=DEADLINE_S)
            hold = self._ahead.take(session.path)
            found, how = _AWAITED, HoldFrom.AWAITED
        if hold is not None:
            if hold.amount.covers(want) and self._ahead.trusted:
                found.inc()
                tracing.current().set(Attribute.HOLD, how.value)
                return self._unless(gone, hold)
            hold = await self._extended(hold, want, need.useful)
        if hold is not None:
            return self._unless(gone, hold)
        metrics.GATEWAY_HOLDS_AHEAD.labels("None").inc()
        return self._unless(gone, await self._at_the_ledger(session, need_now, gone))

    async def _extended(self, hold: Hold, want: Amount, at_least: Amount) -> Hold | None:
        """The hold ahead with what the call needs beyond it, by the ledger's word of this moment; None where there is
        no room for that, and the hold is given back: a reservation of the whole says exactly why.
        """
        asked_at_s = asyncio.get_running_loop().time()
        extend = wire.Extend(
            id=hold.id,
            sequence=hold.next_sequence,
            expires_in_ms=self._hold_expires_in_ms,
            want=missing(want, hold.amount),
            at_least=missing(at_least, hold.amount),
        )
        try:
            answer = await self._ledger.extend(extend)
        except LedgerUnavailable as error:
            self._settlements.release(hold.id, "no answer to its extension; the call was not sent")
            raise refusals.ledger_away() from error
        except LedgerError:
            answer = None  # it has expired, or the ledger is being replaced by an older one
        except asyncio.CancelledError:
            self._settlements.release(hold.id, "the call ended before it was sent")
            raise
        if not isinstance(answer, wire.Granted):
            self._settlements.release(hold.id, "the call needs more than is held ahead")
            return None
        how = HoldFrom.CONFIRMED if extend.want == _NOTHING else HoldFrom.EXTENDED
        metrics.GATEWAY_HOLDS_AHEAD.labels(how.value).inc()
        tracing.current().set(Attribute.HOLD, how.value)
        return hold.extended(answer.amount, asked_at_s + self._hold_expires_in_ms / 1000)

    async def _at_the_ledger(self, session: Session, need_now: Callable[[], Need], gone: asyncio.Future[None]) -> Hold:
        need = need_now()
        refused = self.exhausted.refusal(session, need.at_least)
        if refused is not None:
            raise refusals.refused(refused, self._utc_now())
        tracing.current().set(Attribute.HOLD, HoldFrom.LEDGER.value)
        in_the_way = self._queue.account_in_the_way(session.path, session.parent)
        answer = None
        if in_the_way is None:
            answer = await self._first_try(session, need)
            if isinstance(answer, Hold):
                return answer
            in_the_way = self._to_queue_for(answer, self._queue_s)
        return await self._queue_for(in_the_way, session, need_now, answer, gone)

    async def _queue_for(
        self,
        account: str,
        session: Session,
        need_now: Callable[[], Need],
        last: wire.Wait | None,
        gone: asyncio.Future[None],
    ) -> Hold:
        span = tracing.current()
        span.set(Attribute.HOLD, HoldFrom.QUEUED.value)
        span.note(SpanEvent.QUEUED)
        loop = asyncio.get_running_loop()
        began_at_s = loop.time()
        deadline = began_at_s + self._queue_s
        ticket = self._queue.enter(account, session.path, session.parent)

        def leave(_: object) -> None:
            ticket.woken.set()

        ticket.gone = gone
        gone.add_done_callback(leave)
        result = "Refused"
        try:
            while await self._queue.turn(ticket, deadline - loop.time()):
                if gone.done():
                    result = "ClientGone"
                    raise ClientGone
                answer = await self._try(session, need_now())
                if isinstance(answer, Hold):
                    result = "Admitted"
                    return answer
                self._queue.move(ticket, self._to_queue_for(answer, deadline - loop.time()))
                last = answer
        finally:
            gone.remove_done_callback(leave)
            self._queue.leave(ticket)
            metrics.GATEWAY_QUEUE_SECONDS.labels(result).observe(loop.time() - began_at_s)
        if last is None:  # those ahead never moved: ask once, so as to say which bound it is
            answer = await self._try(session, need_now())
            if isinstance(answer, Hold):
                return answer
            last = answer
        raise refusals.waited(last, self._utc_now(), self._queue_s)

    def _to_queue_for(self, answer: wire.Wait, left_s: float) -> str:
        """The account to queue for. Raises RefusedCall where only the next minute helps, and it begins too late."""
        begins_in_ms = answer.resets_in_ms
        if refusals.minute_is_full(answer) and (begins_in_ms is None or begins_in_ms > left_s * 1000):
            raise refusals.minute_full(answer, self._utc_now())
        return answer.account

    def _unless(self, gone: asyncio.Future[None], hold: Hold) -> Hold:
        if gone.done():
            self._settlements.release(hold.id, "the client went away before the call was sent")
            raise ClientGone
        return hold

    async def _first_try(self, session: Session, need: Need) -> Hold | wire.Wait:
        """As `_try`, and tells the ledger first how little the call may be: nothing is exhausted while there is room
        for that. Mostly there is room for all of it, and this is the only question. Raises RefusedCall.
        """
        answer = await self._reserve(session, need.want, need.at_least)
        if not isinstance(answer, Hold) or answer.amount.covers(need.useful):
            return answer
        self._settlements.release(answer.id, "too little for the call, which waits for more")
        return await self._try(session, need)

    async def _try(self, session: Session, need: Need) -> Hold | wire.Wait:
        """Room for what is useful, or a wait for it; where what is spent leaves less, for what there is. Raises
        RefusedCall.
        """
        try:
            return await self._reserve(session, need.want, need.useful)
        except RefusedCall as refused:
            if refused.reason is not Refusal.LIMIT_EXCEEDED or need.useful == need.at_least:
                raise
            return await self._reserve(session, need.want, need.at_least)

    async def _reserve(self, session: Session, want: Amount, at_least: Amount) -> Hold | wire.Wait:
        """One question. Raises RefusedCall."""
        asked_at_s = asyncio.get_running_loop().time()
        changes = self.exhausted.changes
        try:
            answer = await self._ledger.hold(session.path, want, at_least, self._hold_expires_in_ms)
        except LedgerUnavailable as error:
            raise refusals.ledger_away() from error  # should it have been granted, the client releases it
        except AccountUnknown as error:
            raise refusals.not_yet_known(session.path) from error
        match answer:
            case Held():
                self._warnings.add(session.path, answer.granted.warnings)
                return Hold(answer.id, answer.granted.amount, asked_at_s + self._hold_expires_in_ms / 1000)
            case wire.Refused():
                self.exhausted.note(session, answer, asked_at_s, changes)
                raise refusals.refused(answer, self._utc_now())
            case wire.Wait():
                return answer
