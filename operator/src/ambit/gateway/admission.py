"""Reserve before the call: the hold is journalled at the ledger before anything is sent."""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from ambit.gateway import refusals
from ambit.gateway.identity.session_directory import Session
from ambit.gateway.room_queue import RoomQueue
from ambit.gateway.settlements import Settlements
from ambit.ledger import wire
from ambit.ledger.amounts import Amount
from ambit.ledger.client import AccountUnknown, LedgerClient, LedgerUnavailable

QUEUE_S: Final = 20.0


class ClientGone(Exception):
    """The client went away before anything was held for it."""


@dataclass(frozen=True, slots=True)
class Hold:
    """What is held for one upstream attempt."""

    id: str
    amount: Amount


class Admission:
    """Takes holds for this process; their ids begin with a name that no other process has."""

    def __init__(
        self,
        ledger: LedgerClient,
        settlements: Settlements,
        queue: RoomQueue,
        *,
        hold_expires_in_ms: int,
        utc_now: Callable[[], datetime],
        queue_s: float = QUEUE_S,
    ) -> None:
        self._ledger = ledger
        self._settlements = settlements
        self._queue = queue
        self._hold_expires_in_ms = hold_expires_in_ms
        self._utc_now = utc_now
        self._queue_s = queue_s
        self._process = secrets.token_hex(8)
        self._count = 0

    async def hold(self, session: Session, want: Amount, at_least: Amount, gone: asyncio.Future[None]) -> Hold:
        """Holds at least `at_least` and at most `want`, waiting in the queue for room that others hold.

        Raises RefusedCall where a bound, the session's end, or the ledger's absence stands in the way, and ClientGone.
        """
        self._count += 1
        reserve = wire.Reserve(
            id=f"call/{self._process}/{self._count}",
            path=session.path,
            want=want,
            at_least=at_least,
            expires_in_ms=self._hold_expires_in_ms,
        )
        ahead = self._queue.account_in_the_way(session.path, session.parent)
        if ahead is None:
            answer = await self._reserve(reserve)
            if not isinstance(answer, wire.Wait):
                return self._decided(reserve, answer, gone)
            ahead = self._to_queue_for(answer)
        else:
            answer = None
        return await self._queue_for(ahead, session, reserve, answer, gone)

    async def _queue_for(
        self, account: str, session: Session, reserve: wire.Reserve, last: wire.Wait | None, gone: asyncio.Future[None]
    ) -> Hold:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._queue_s
        ticket = self._queue.enter(account, session.path, session.parent)
        try:
            while await self._queue.turn(ticket, deadline - loop.time()):
                if gone.done():
                    raise ClientGone
                answer = await self._reserve(reserve)
                if not isinstance(answer, wire.Wait):
                    return self._decided(reserve, answer, gone)
                self._queue.move(ticket, self._to_queue_for(answer))
                last = answer
        finally:
            self._queue.leave(ticket)
        if last is None:  # those ahead never moved: ask once, so as to say which bound it is
            answer = await self._reserve(reserve)
            if not isinstance(answer, wire.Wait):
                return self._decided(reserve, answer, gone)
            last = answer
        raise refusals.room_held(last, self._utc_now(), self._queue_s)

    def _to_queue_for(self, answer: wire.Wait) -> str:
        """The account to queue for. Raises RefusedCall where only the next minute helps."""
        if refusals.minute_is_full(answer):
            raise refusals.minute_full(answer, self._utc_now())
        return answer.account

    def _decided(self, reserve: wire.Reserve, answer: wire.Granted | wire.Refused, gone: asyncio.Future[None]) -> Hold:
        if isinstance(answer, wire.Refused):
            raise refusals.bound_exhausted(answer, self._utc_now())
        if gone.done():
            self._settlements.release(reserve.id, "the client went away before the call was sent")
            raise ClientGone
        return Hold(reserve.id, answer.amount)

    async def _reserve(self, reserve: wire.Reserve) -> wire.Granted | wire.Refused | wire.Wait:
        try:
            return await self._ledger.reserve(reserve)
        except LedgerUnavailable as error:
            # It may have been granted all the same: nothing was sent for it.
            self._settlements.release(reserve.id, "no answer to the reservation; the call was not sent")
            raise refusals.ledger_away() from error
        except AccountUnknown as error:
            raise refusals.not_yet_known(reserve.path) from error
