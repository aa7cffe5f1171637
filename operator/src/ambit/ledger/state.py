"""The tree as the changes made it: `evolve` is the only thing that alters it, live and at replay alike."""

import heapq
from collections import deque

from ambit.ledger import changes
from ambit.ledger.accounts import (
    Account,
    Ending,
    Hold,
    HoldKey,
    HoldState,
    Increment,
    Request,
    Session,
    counting_everything,
    counting_lifetime,
)
from ambit.ledger.amounts import NOTHING, Vector

HOLD_MEMORY_MS = 10 * 60 * 1000
"""How long a closed hold is remembered: for repeats of what closed it, and for the true settle of an expired one."""
SESSION_MEMORY_MS = 30 * 24 * 3600 * 1000
"""How long an ended session's account is kept."""


class State:
    """All accounts and holds, and when each next falls due."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.accounts: dict[str, Account] = {}
        self.holds: dict[HoldKey, Hold] = {}
        self.open_sessions = 0
        self.closed_holds: deque[tuple[int, HoldKey]] = deque()
        self.ended_sessions: deque[tuple[int, str]] = deque()
        self.expiries: list[tuple[int, HoldKey]] = []
        """A heap. An entry counts only while it is the hold's `queued_ms`."""
        self.idle_sessions: list[tuple[int, str]] = []
        """A heap. An entry may be out of date: the session itself says when it is abandoned."""

    def evolve(self, change: changes.AnyChange) -> None:
        """Makes one change part of the tree."""
        self.now_ms = max(self.now_ms, change.at_ms)
        match change:
            case changes.HoldPlaced():
                self._place(change)
            case changes.HoldExtended():
                self._extend(change)
            case changes.HoldSettled():
                self._close(self.holds[change.component, change.id], HoldState.SETTLED, change.used, change.at_ms)
            case changes.HoldReleased():
                self._close(self.holds[change.component, change.id], HoldState.RELEASED, NOTHING, change.at_ms)
            case changes.HoldExpired():
                hold = self.holds[change.component, change.id]
                self._close(hold, HoldState.EXPIRED, hold.amount, change.at_ms)
            case changes.SessionBegun():
                self._begin(change)
            case changes.SessionOver():
                session = self.session(change.path)
                self.open_sessions -= 1
                session.ending = Ending(change.at_ms, change.reason, change.message)
                self.ended_sessions.append((change.at_ms, change.path))
            case changes.AccountChanged():
                self._put(change)
            case changes.AccountGone():
                self.accounts[change.path].removed = True
        self._forget(change.at_ms)

    @property
    def open_holds(self) -> int:
        """How many holds are open."""
        return len(self.holds) - len(self.closed_holds)

    def session(self, path: str) -> Session:
        """The session at a path that is known to be one."""
        session = self.accounts[path].session
        if session is None:
            raise KeyError(f"{path} is no session")
        return session

    def _put(self, change: changes.AccountChanged) -> None:
        parent = None if change.parent is None else self.accounts[change.parent]
        account = self.accounts.get(change.path)
        if account is None:
            counters = counting_everything(change.zone, change.at_ms)
            account = Account(change.path, None, change.limits, change.zone, counters)
            self.accounts[change.path] = account
        else:
            account.turn(change.at_ms)  # the window that runs ends by the old zone
            account.limits, account.zone, account.removed = change.limits, change.zone, False
        self._attach(account, parent)

    def _attach(self, account: Account, parent: Account | None) -> None:
        if account.parent is not None:
            del account.parent.children[account.path]
        account.parent = parent
        if parent is not None:
            parent.children[account.path] = account

    def _begin(self, change: changes.SessionBegun) -> None:
        parent = self.accounts[change.parent]
        session = Session(change.attributes, change.grace_ms, change.at_ms, change.at_ms)
        account = Account(change.path, None, change.limits, parent.zone, counting_lifetime(parent.zone), session)
        self.accounts[change.path] = account
        self._attach(account, parent)
        self.open_sessions += 1
        heapq.heappush(self.idle_sessions, (change.at_ms + change.grace_ms, change.path))

    def _place(self, change: changes.HoldPlaced) -> None:
        chain = self.accounts[change.path].chain()
        expires_ms = change.at_ms + change.expires_in_ms
        asked = Request(change.want, change.at_least, change.expires_in_ms, change.amount)
        increments = [Increment(change.at_ms, change.amount)]
        hold = Hold(change.component, change.id, chain, increments, expires_ms, expires_ms, asked)
        self.holds[hold.key] = hold
        self.session(change.path).holds[hold.key] = hold
        for account in chain:
            account.hold(change.amount, change.at_ms)
        heapq.heappush(self.expiries, (expires_ms, hold.key))

    def _extend(self, change: changes.HoldExtended) -> None:
        hold = self.holds[change.component, change.id]
        expires_ms = change.at_ms + change.expires_in_ms
        hold.expires_ms = expires_ms
        if expires_ms < hold.queued_ms:
            self.queue(hold)
        hold.sequence = change.sequence
        hold.last = Request(change.want, change.at_least, change.expires_in_ms, change.amount)
        for account in hold.chain:
            account.hold(change.amount, change.at_ms)
        if change.amount:
            hold.add(Increment(change.at_ms, change.amount))

    def queue(self, hold: Hold) -> None:
        """Has the ledger look at a hold when it expires."""
        hold.queued_ms = hold.expires_ms
        heapq.heappush(self.expiries, (hold.expires_ms, hold.key))

    def _close(self, hold: Hold, state: HoldState, used: Vector, at_ms: int) -> None:
        shares, excess = hold.allocate(used)
        expired_before = hold.state is HoldState.EXPIRED
        for account in hold.chain:
            for increment, share in zip(hold.increments, shares, strict=True):
                if expired_before:
                    account.recharge(increment, share, at_ms)
                else:
                    account.charge(increment, share, at_ms)
            if excess:
                account.record_overrun(excess, at_ms)
        for increment, share in zip(hold.increments, shares, strict=True):
            increment.charged = share
        hold.state = state
        if not expired_before:
            self.closed_holds.append((at_ms, hold.key))
            self._free(hold, at_ms)

    def _free(self, hold: Hold, at_ms: int) -> None:
        account = hold.chain[0]
        session = self.session(account.path)
        del session.holds[hold.key]
        if not session.holds:
            session.idle_since_ms = at_ms
        if session.abandoned_at_ms is not None:
            heapq.heappush(self.idle_sessions, (session.abandoned_at_ms, account.path))

    def _forget(self, at_ms: int) -> None:
        while self.closed_holds and self.closed_holds[0][0] + HOLD_MEMORY_MS <= at_ms:
            del self.holds[self.closed_holds.popleft()[1]]
        while self.ended_sessions and self.ended_sessions[0][0] + SESSION_MEMORY_MS <= at_ms:
            account = self.accounts.pop(self.ended_sessions.popleft()[1])
            self._attach(account, None)
