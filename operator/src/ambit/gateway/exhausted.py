"""What the ledger has just refused for good, answered again without asking it: an agent that repeats a refused call in
a loop costs no I/O.

A refusal is final where what is *spent* leaves no room: nothing that is settled or released makes any, only another
window, limit or top-up, or a correction by hand, of which the ledger tells. For whatever else there may be (an expired
hold that is settled after all, a moved Agent, events that are late), no refusal is remembered for longer than a second.
"""

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import msgspec

from ambit.gateway.identity.session_directory import Session
from ambit.ledger import wire
from ambit.ledger.amounts import INDEX, Amount, Resource, Window, describe, in_window
from ambit.ledger.client import LedgerBusy, LedgerClient

REMEMBERED_S: Final = 1.0
TOLD_AFTER_S: Final = 1.0
"""How long the ledger is told late of refusals that were given in its place."""
MAX_NOTES: Final = 10_000
Bound = tuple[str, Window, Resource]


@dataclass(frozen=True, slots=True)
class _Note:
    refused: wire.Refused
    bound: Bound
    asked_at_s: float

    def again(self, need: int, now_s: float) -> wire.Refused | None:
        """The same answer to a call that needs so much; None where another might be given."""
        age_s = now_s - self.asked_at_s
        resets_in_ms = self.refused.resets_in_ms
        if resets_in_ms is not None:
            resets_in_ms -= int(age_s * 1000)
        over = age_s >= REMEMBERED_S or (resets_in_ms is not None and resets_in_ms <= 0)
        if over or self.refused.spent + need <= self.refused.limit:
            return None
        message = _text(self.refused, self.bound, need)
        return msgspec.structs.replace(self.refused, requested=need, message=message, resets_in_ms=resets_in_ms)


@dataclass(frozen=True, slots=True)
class _Cut:
    denial: wire.Denial
    until_s: float | None

    def refused(self, now_s: float) -> wire.Refused:
        denial = self.denial
        return wire.Refused(
            reason=wire.RefusalReason.LIMIT_EXCEEDED,
            account=denial.account,
            message=f"{denial.message}; the session's last answer was cut there",
            window=denial.window,
            resource=denial.resource,
            limit=denial.limit,
            spent=denial.spent,
            held=denial.held,
            requested=denial.requested,
            resets_in_ms=None if self.until_s is None else int((self.until_s - now_s) * 1000),
        )


class Exhausted:
    """By session, or by what sessions stand under, the last refusal. Time is the running loop's."""

    def __init__(self, ledger: LedgerClient) -> None:
        self._ledger = ledger
        self._notes: dict[str, _Note] = {}
        self._cuts: dict[str, _Cut] = {}
        """By session, what its last answer was cut for."""
        self._counts: Counter[Bound] = Counter()
        """Refusals that the ledger has not been told of."""
        self.changes = 0
        """How often everything was forgotten. A refusal that was asked for before says nothing."""

    def note(self, session: Session, refused: wire.Refused, asked_at_s: float, changes: int) -> None:
        """Remembers an answer to what was asked at `asked_at_s`, when there had been so many `changes`."""
        if changes != self.changes or refused.reason is not wire.RefusalReason.LIMIT_EXCEEDED:
            return
        if refused.window is None or refused.resource is None or refused.window is Window.MINUTE:
            return
        own = refused.account == session.path or refused.account.startswith("user/")
        # What bounds one session from above bounds all that stand under the same account.
        self._notes[session.path if own else session.parent] = _Note(
            refused, (refused.account, refused.window, refused.resource), asked_at_s
        )
        if len(self._notes) > MAX_NOTES:
            del self._notes[next(iter(self._notes))]

    def cut(self, session: Session, denial: wire.Denial) -> None:
        """An answer of the session was cut, because this limit leaves no more: whatever is left, no further call of it
        begins until there is more. A row of answers of a few tokens each helps nobody, and each costs its prompt.
        """
        until_s = (
            None if denial.resets_in_ms is None else asyncio.get_running_loop().time() + denial.resets_in_ms / 1000
        )
        self._cuts[session.path] = _Cut(denial, until_s)
        if len(self._cuts) > MAX_NOTES:
            del self._cuts[next(iter(self._cuts))]

    def after_a_cut(self, session: Session) -> wire.Refused | None:
        """The refusal of a session that was cut; None once there may be more for it."""
        cut = self._cuts.get(session.path)
        if cut is None:
            return None
        now_s = asyncio.get_running_loop().time()
        if cut.until_s is not None and now_s >= cut.until_s:
            del self._cuts[session.path]
            return None
        if cut.denial.window is not None and cut.denial.resource is not None:
            self._count((cut.denial.account, cut.denial.window, cut.denial.resource))
        return cut.refused(now_s)

    def refusal(self, session: Session, at_least: Amount) -> wire.Refused | None:
        """What the ledger would answer, as it has said within the last second; None: ask it."""
        now_s = asyncio.get_running_loop().time()
        for key in (session.path, session.parent):
            note = self._notes.get(key)
            if note is None:
                continue
            need = at_least.vector().get(INDEX[note.bound[2]], 0)
            refused = note.again(need, now_s)
            if refused is not None:
                self._count(note.bound)
                return refused
        return None

    def on_event(self, event: wire.AnyEvent) -> None:
        """Forgets what may no longer be so."""
        match event:
            case wire.LimitsChanged() | wire.AccountWoken() | wire.Resynchronised():
                self.changes += 1
                self._notes.clear()
                self._cuts.clear()
            case wire.SessionKilled() | wire.SessionEnded():
                self._notes.pop(event.path, None)
                self._cuts.pop(event.path, None)
            case _:
                pass

    def _count(self, bound: Bound) -> None:
        if not self._counts:
            asyncio.get_running_loop().call_later(TOLD_AFTER_S, self._tell)
        self._counts[bound] += 1

    def _tell(self) -> None:
        counts, self._counts = self._counts, Counter()
        for (account, window, resource), count in counts.items():
            # Its answer changes nothing here; where it is lost, the ledger may count them twice. RuntimeError: this
            # process is ending, and its last second's are not told.
            with suppress(LedgerBusy, RuntimeError):
                self._ledger.post(wire.CountRefusals(account, window, resource, count))


def _text(refused: wire.Refused, bound: Bound, need: int) -> str:
    account, window, resource = bound
    limit, spent, needed = (describe(resource, amount) for amount in (refused.limit, refused.spent, need))
    return f"{account} allows {limit} in {in_window(window)}: {spent} spent, {needed} needed"
