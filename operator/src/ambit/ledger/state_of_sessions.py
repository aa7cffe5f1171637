"""What changes do to sessions: their beginning, parking, end and folding, and the kills that wait for them."""

from ambit.ledger import changes
from ambit.ledger.accounts import NO_CHILDREN, Account
from ambit.ledger.allowance import Allowance
from ambit.ledger.exhaustion import Parked
from ambit.ledger.sessions import Ending, Kill, Session
from ambit.ledger.state_of_accounts import AccountsState

FOLD_AFTER_MS = 10 * 60 * 1000
"""How long the account of an ended session stays in memory."""
NO_ATTRIBUTES: dict[str, str] = {}
"""Shared by all sessions without one. Never altered."""


class SessionsState(AccountsState):
    """The part of `State` that sessions are."""

    # -- parking

    def counted_at(self, account: Account, session: Session) -> tuple[Account, ...]:
        """The accounts whose gauges count a session: those above it, itself, and its Agent."""
        return (*account.chain(), *(() if session.agent is None else (session.agent,)))

    def _park(self, change: changes.SessionParked) -> None:
        account, by = self.accounts[change.path], self.accounts[change.by]
        session = session_of(account)
        session.parked_by = by
        self.policy(by).lot.park(change.path, Parked(change.window, change.resource, change.need))
        self.look_at_parked(by, change.at_ms)  # it says when the window ends; and another of its sessions may be due
        self.session_timers.remove(account, session.timer)  # idle time stands still
        session.timer = 0
        if not session.holds:
            self._give_slot_back(account, session)

    def _give_slot_back(self, account: Account, session: Session) -> None:
        session.away = True
        for each in self.counted_at(account, session):
            each.sessions_open -= 1

    def _wake(self, change: changes.SessionWoken) -> None:
        account = self.accounts[change.path]
        session = session_of(account)
        if session.parked_by is not None:
            self.policy(session.parked_by).lot.wake(change.path, change.at_ms)
        self._unpark(account, session, change.at_ms)
        if is_idle(account, session):
            self._rest(account, session, change.at_ms)

    def _unpark(self, account: Account, session: Session, at_ms: int) -> None:
        """Takes a session out of its parking lot, and gives it a slot again."""
        if session.parked_by is not None:
            self.policy(session.parked_by).lot.leave(account.path)
            self.look_at_parked(session.parked_by, at_ms)
        session.parked_by = None
        if session.away:
            session.away = False
            for each in self.counted_at(account, session):
                each.sessions_open += 1

    # -- sessions

    def _begin(self, change: changes.SessionBegun) -> None:
        parent = self.accounts[change.parent]
        agent = None if change.agent is None else self.accounts[change.agent]
        session = Session(
            change.attributes or NO_ATTRIBUTES,
            change.grace_ms,
            change.at_ms,
            change.at_ms,
            change.user,
            change.labels or NO_ATTRIBUTES,
            agent,
        )
        account = Account(change.path, Allowance(change.limits), "", ())
        account.session = session
        self.add(account)
        account.sessions_open = 1
        account.attach(parent)
        if agent is not None:
            agent.sessions_open += 1
            if agent.adopted is NO_CHILDREN:
                agent.adopted = {}
            agent.adopted[account.path] = account
        self.open_sessions += 1
        session.timer = self.session_timers.add(account, change.at_ms + change.grace_ms)

    def _doom(self, change: changes.EndingBegun) -> None:
        ending = Ending(change.at_ms, change.reason, change.message)
        found = [each for each in self.accounts[change.path].sessions() if session_of(each).over is None]
        for account in found:
            session_of(account).doomed = ending
        self.doomed.update(dict.fromkeys(each for each in found if session_of(each).holds))
        self.doomed.update(dict.fromkeys(found))

    def _end(self, change: changes.SessionOver) -> None:
        account = self.accounts[change.path]
        session = session_of(account)
        self.open_sessions -= 1
        self._unpark(account, session, change.at_ms)
        session.ending, session.doomed = Ending(change.at_ms, change.reason, change.message), None
        self.doomed.pop(account, None)
        self.session_timers.remove(account, session.timer)
        session.timer = self.session_timers.add(account, change.at_ms + FOLD_AFTER_MS)
        if not session.holds:
            self._go(account, session, change.at_ms)

    def _go(self, account: Account, session: Session, at_ms: int) -> None:
        """A session that has ended holds nothing any more."""
        session.gone = True
        session.idle_since_ms = at_ms
        for each in self.counted_at(account, session):
            each.sessions_open -= 1
            if each.session is not None and is_idle(each, each.session):
                self._rest(each, each.session, at_ms)
        for each, kill in list(self.killing.items()):
            kill.waiting.discard(account)
            self.await_kill(each, kill)

    def _rest(self, account: Account, session: Session, at_ms: int) -> None:
        """A session may have become idle."""
        session.idle_since_ms = at_ms
        if session.timer == 0:
            session.timer = self.session_timers.add(account, at_ms + session.grace_ms)

    def time_again(self, account: Account, session: Session, at_ms: int) -> None:
        """Sets the timer of a session anew that fell due too early; 0: it needs none until it rests."""
        session.timer = self.session_timers.add(account, at_ms) if at_ms else 0

    def _fold(self, account: Account) -> None:
        session = session_of(account)
        self.session_timers.remove(account, session.timer)
        account.attach(None)
        if session.agent is not None:
            del session.agent.adopted[account.path]
        self.confirmable.pop(account, None)
        del self.accounts[account.path]
        beside = self.sessions_in[account.namespace]
        del beside[account]
        if not beside:
            del self.sessions_in[account.namespace]

    # -- kills

    def _kill(self, change: changes.KillBegun) -> None:
        account = self.accounts[change.path]
        found = list(account.sessions())
        waiting = {each for each in found if not session_of(each).gone}
        account.kill = Kill(change.at_ms, waiting, presumed=any(session_of(each).silent for each in found))
        self.await_kill(account, account.kill)

    def await_kill(self, account: Account, kill: Kill) -> None:
        """Goes on waiting for a kill's sessions, or has it confirmed where none of them may act any more."""
        if kill.waiting:
            self.killing[account] = kill
            return
        self.killing.pop(account, None)
        if kill.confirmed is None:
            self.confirmable[account] = None


def is_idle(account: Account, session: Session) -> bool:
    """Whether an open session would end by itself if nothing came: nothing is held for it, and none is under it.

    Of one that is parked, and of one above such a one, idle time stands still.
    """
    if session.ending is not None or session.parked_by is not None or session.holds or account.sessions_open != 1:
        return False
    children = account.children
    return not children or not any(each.session is not None and each.session.away for each in children.values())


def session_of(account: Account) -> Session:
    """The session of an account that is known to be one's."""
    if account.session is None:
        raise KeyError(f"{account.path} is no session")
    return account.session
