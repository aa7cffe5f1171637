"""The tree as the changes made it: `evolve` is the only thing that alters it, live and at replay alike."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence

from ambit.ledger import changes
from ambit.ledger.accounts import NO_CHILDREN, Account, Post
from ambit.ledger.allowance import Allowance
from ambit.ledger.amounts import NOTHING, Vector, minus, total
from ambit.ledger.audit import Head
from ambit.ledger.ended_windows import EndedWindows
from ambit.ledger.exhaustion import Parked, Said
from ambit.ledger.holds import (
    HOLDER_MEMORY_MS,
    NAME_MEMORY_MS,
    Hold,
    Holder,
    HoldState,
    Part,
    identity_of,
)
from ambit.ledger.paths import kind_of
from ambit.ledger.policy import Policy
from ambit.ledger.sessions import Ending, Kill, Session
from ambit.ledger.timers import Timers

FOLD_AFTER_MS = 10 * 60 * 1000
"""How long the account of an ended session stays in memory."""
HOLDERS_AT_ONCE = 100
"""How many holders are looked at with one change: whether they are to be forgotten."""
NO_ATTRIBUTES: dict[str, str] = {}
"""Shared by all sessions without one. Never altered."""

NamedKey = tuple[str, str]
"""Component and name: names are unique per component."""


class State:
    """All accounts and holds, and when each next falls due."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.accounts: dict[str, Account] = {}
        self.budgets: dict[str, Account] = {}
        """Those of Budgets among them, which are few."""
        self.sessions_in: dict[str, dict[Account, None]] = {}
        """Those of sessions among them, by their namespaces, in the order of their opening."""
        self.holders: dict[str, Holder] = {}
        self.named: dict[NamedKey, Hold] = {}
        self.doomed: dict[Account, None] = {}
        """Sessions that are about to end, those first for which something is held."""
        self.open_sessions = 0
        self.open_holds = 0
        self.clock_doubted = False
        self.restore_pending = False
        self.closed_names: deque[tuple[int, NamedKey]] = deque()
        self.expiries: Timers[Hold] = Timers(1)
        self.session_timers: Timers[Account] = Timers(1000)
        """Of idle sessions, when they may be abandoned; of ended ones, when they are folded. The session says which."""
        self.holder_timers: Timers[Holder] = Timers(3_600_000)
        self.wake_timers: Timers[Account] = Timers(1)
        """Of accounts that have parked sessions, when the first of these may have room."""
        self.audit_head = Head()
        self.ended = EndedWindows()
        """What is to be recorded of windows that are over."""
        self.confirmable: dict[Account, None] = {}
        """Killed accounts under which nothing may act any more, and that are not confirmed."""
        self.killing: dict[Account, Kill] = {}
        """Kills for which a session is still waited for, wherever that session stands by now: its Agent may have been
        made again under another Budget since."""
        self.on_touch: Callable[[tuple[Account, ...], bool], None] | None = None
        """Told of the accounts that a change is about to count on, nearest first, and whether it extends a hold.

        For who checks every step."""

    def evolve(self, change: changes.AnyChange) -> None:
        """Makes one change part of the tree."""
        at_ms = change.at_ms
        self.now_ms = max(self.now_ms, at_ms)
        match change:
            case changes.HoldPlaced():
                self._place(change)
            case changes.HoldSettled():
                self._close(self.hold(change.component, change.id), HoldState.SETTLED, change.used, at_ms)
            case changes.HoldExtended():
                self._extend(change)
            case changes.HoldReleased():
                self._close(self.hold(change.component, change.id), HoldState.RELEASED, NOTHING, at_ms)
            case changes.HoldExpired():
                hold = self.hold(change.component, change.id)
                self._close(hold, HoldState.EXPIRED, hold.amount, at_ms)
            case changes.SessionBegun():
                self._begin(change)
            case changes.SessionOver():
                self._end(change)
            case changes.EndingBegun():
                self._doom(change)
            case changes.SessionFolded():
                self._fold(self.accounts[change.path])
            case changes.HoldsRecalled():
                for component, hold_id in change.holds:
                    hold = self.hold(component, hold_id)
                    for account in hold.chain:
                        hold.recall_from(account)
            case changes.AccountChanged():
                self._put(change)
            case changes.AccountGone():
                self.accounts[change.path].removed = True
            case changes.KillBegun():
                self._kill(change)
            case changes.KillEnded():
                account = self.accounts[change.path]
                self.confirmable.pop(account, None)
                if account.kill is not None:
                    account.kill.confirmed = change.how
            case changes.Adjusted():
                self._adjust(change)
            case changes.ClockDoubted() | changes.ClockTrusted():
                self.clock_doubted = isinstance(change, changes.ClockDoubted)
            case changes.RestoreBegun() | changes.RestoreEnded():
                self.restore_pending = isinstance(change, changes.RestoreBegun)
            case changes.Audited():
                self.audit_head = Head(change.sequence, change.hash)
            case changes.WindowsTurned():
                self.turn(self.accounts[change.path], at_ms)
                self.ended.recorded(change.path)
            case changes.LimitReached():
                account = self.accounts[change.path]
                self.turn(account, at_ms)
                begun_ms = account.window_begun_ms(change.window)
                self.policy(account).said[change.window, change.resource] = Said(begun_ms, change.percent)
            case changes.TopUpApplied():
                self._top_up(change)
            case changes.SessionParked():
                self._park(change)
            case changes.SessionWoken():
                self._wake(change)
        self._forget(at_ms)

    # -- looking

    def hold(self, component: str, hold_id: str) -> Hold:
        """A hold that is known to be there."""
        identity = identity_of(hold_id)
        if identity is None or not identity.sequence:
            return self.named[component, hold_id]
        return self.holders[identity.holder].holds[identity.sequence]

    def holds(self) -> Iterator[Hold]:
        """Every hold that is kept, open or closed."""
        yield from self.named.values()
        for holder in self.holders.values():
            yield from holder.holds.values()

    def left_of(self, hold: Hold) -> tuple[str, ...]:
        """The sessions of a hold's chain that have folded: its own, and those above that had folded after it."""
        return (*hold.left, *(each.path for each in hold.chain if self.accounts.get(each.path) is not each))

    @property
    def size(self) -> int:
        """How much a snapshot has to say, in accounts and holds."""
        return len(self.accounts) + self.open_holds + len(self.holders)

    def turn(self, account: Account, now_ms: int) -> None:
        """Brings an account's windows to `now_ms`."""
        if now_ms >= account.turns_at_ms:
            for each in account.turn(now_ms):
                self.ended.note(account.path, each)

    # -- accounts

    def add(self, account: Account) -> None:
        """Takes up an account."""
        self.accounts[account.path] = account
        if account.session is not None:
            self.sessions_in.setdefault(account.namespace, {})[account] = None
        elif account.path.startswith("budget/"):
            self.budgets[account.path] = account

    def _put(self, change: changes.AccountChanged) -> None:
        account = self.accounts.get(change.path)
        if account is None:
            account = Account.counting_everything(change.path, change.allowance, change.zone, change.at_ms)
            self.add(account)
        else:
            self.turn(account, change.at_ms)  # the window that runs ends by the old zone
            account.allow(change.allowance)
            account.set_zone(change.zone, change.at_ms)
            account.removed = False
            self.look_at_parked(account, change.at_ms)
            self._set_user_limits(account, change)
        parent = None if change.parent is None else self.accounts[change.parent]
        if account.parent is not parent:
            account.attach(parent)

    def _set_user_limits(self, agent: Account, change: changes.AccountChanged) -> None:
        for user in agent.children.values():
            if kind_of(user.path) == "user":
                self.turn(user, change.at_ms)
                user.allow(change.allowance.of_a_user())
                user.set_zone(change.zone, change.at_ms)

    # -- policies

    def policy(self, account: Account) -> Policy:
        """What an account remembers."""
        if account.policy is None:
            account.set_policy(policy := Policy())
            return policy
        return account.policy

    def _top_up(self, change: changes.TopUpApplied) -> None:
        account = self.accounts[change.path]
        self.turn(account, change.at_ms)
        policy = self.policy(account)
        policy.top_up(
            change.id, (change.window, change.resource), account.window_begun_ms(change.window), change.amount
        )
        account.set_policy(policy)
        self.look_at_parked(account, change.at_ms)

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

    def counted_at(self, account: Account, session: Session) -> tuple[Account, ...]:
        """The accounts whose gauges count a session: those above it, itself, and its Agent."""
        return (*account.chain(), *(() if session.agent is None else (session.agent,)))

    def look_at_parked(self, account: Account, at_ms: int) -> None:
        """Has the ledger look whether a parked session may wake."""
        policy = account.policy
        if policy is not None and policy.lot:
            self.wake_timers.remove(account, policy.slot)
            policy.slot = self.wake_timers.add(account, max(at_ms, policy.lot.next_wake_ms))

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
        waiting = {each for each in account.sessions() if not session_of(each).gone}
        account.kill = Kill(change.at_ms, waiting)
        self.await_kill(account, account.kill)

    def await_kill(self, account: Account, kill: Kill) -> None:
        """Goes on waiting for a kill's sessions, or has it confirmed where none of them may act any more."""
        if kill.waiting:
            self.killing[account] = kill
            return
        self.killing.pop(account, None)
        if kill.confirmed is None:
            self.confirmable[account] = None

    # -- holds

    def _place(self, change: changes.HoldPlaced) -> None:
        at_ms, amount = change.at_ms, change.amount
        chain = self.accounts[change.path].chain()
        if self.on_touch is not None:
            self.on_touch(chain, False)
        hold = Hold(chain, change, (Part(at_ms, amount),), at_ms + change.expires_in_ms)
        hold.speculative = change.speculative
        self._register(hold, at_ms)
        for account in chain:
            if at_ms >= account.turns_at_ms:
                self.turn(account, at_ms)
            account.hold(amount)
            if account.policy is not None:
                account.policy.saw(amount if change.at_least is None else change.at_least)

    def _register(self, hold: Hold, at_ms: int) -> None:
        """Takes up an open hold; nothing is counted yet."""
        identity = identity_of(hold.id)
        if identity is None or not identity.sequence:
            self.named[hold.component, hold.id] = hold
        else:
            holder = self.holders.get(identity.holder)
            if holder is None:
                holder = Holder(identity.holder, hold.component, at_ms, at_ms + HOLDER_MEMORY_MS)
                self.add_holder(holder)
            holder.heard_ms = at_ms
            holder.watermark = max(holder.watermark, identity.sequence)
            holder.take(hold, identity.sequence)
        self.open(hold)

    def add_holder(self, holder: Holder) -> None:
        """Gets to know a holder."""
        self.holders[holder.name] = holder
        self.holder_timers.add(holder, holder.looked_at_ms)

    def open(self, hold: Hold) -> None:
        """Counts a hold as open."""
        self.open_holds += 1
        hold.enter()
        hold.slot = self.expiries.add(hold, hold.expires_ms)

    def _extend(self, change: changes.HoldExtended) -> None:
        at_ms = change.at_ms
        hold = self.hold(change.component, change.id)
        if self.on_touch is not None:
            self.on_touch(hold.chain, True)
        self.expiries.remove(hold, hold.slot)
        hold.expires_ms = at_ms + change.expires_in_ms
        hold.slot = self.expiries.add(hold, hold.expires_ms)
        hold.last = change
        hold.be_in_use()
        for account in hold.chain:
            self.turn(account, at_ms)
            account.hold(change.amount)
        if change.amount:
            hold.add(at_ms, change.amount)
        if hold.holder is not None:
            hold.holder.heard_ms = at_ms

    def _close(self, hold: Hold, how: HoldState, used: Vector, at_ms: int) -> None:
        if self.on_touch is not None:
            self.on_touch(hold.chain, False)
        shares, excess = hold.allocate(used)
        corrects = hold.state is HoldState.EXPIRED
        if corrects:  # when it expired, all of it was charged
            charged = zip(hold.parts, shares, strict=True)
            posts = [Post(part.granted_ms, minus(share, part.amount), NOTHING) for part, share in charged]
        else:
            posts = list(
                map(Post, [part.granted_ms for part in hold.parts], shares, [part.amount for part in hold.parts])
            )
        first_ms, spent, freed = posts[0] if len(posts) == 1 else _summed(posts)
        for account in hold.chain:
            if at_ms >= account.turns_at_ms:
                self.turn(account, at_ms)
            account.post(spent, freed)
            if first_ms < account.begun_ms:
                account.post_before(posts)
                for ended in account.late(posts):
                    self.ended.note(account.path, ended)
            if corrects:
                account.level()
                self.look_at_parked(account, at_ms)
            if excess:
                account.record_overrun(excess)
        if not corrects:
            self._leave(hold, how is HoldState.EXPIRED, at_ms)
        hold.state = how
        self._remember(hold, corrects, at_ms)

    def _leave(self, hold: Hold, expired: bool, at_ms: int) -> None:
        self.open_holds -= 1
        self.expiries.remove(hold, hold.slot)
        hold.leave()
        account = hold.chain[0]
        if expired:
            for kill in self.killing.values():
                if account in kill.waiting:
                    kill.presumed = True
        session = session_of(account)
        if not session.holds:
            account.rest()
            if session.ending is not None:
                self._go(account, session, at_ms)
            elif session.parked_by is not None:
                self._give_slot_back(account, session)
            elif is_idle(account, session):
                self._rest(account, session, at_ms)

    def _remember(self, hold: Hold, corrected: bool, at_ms: int) -> None:
        """Keeps what has to be known of a hold that is closed."""
        if hold.holder is None:
            if not corrected:
                self.closed_names.append((at_ms, (hold.component, hold.id)))
        elif hold.state is not HoldState.EXPIRED:
            hold.holder.heard_ms = at_ms
            hold.holder.drop(hold)

    def _adjust(self, change: changes.Adjusted) -> None:
        chain = self.accounts[change.path].chain()
        if self.on_touch is not None:
            self.on_touch(chain, False)
        for account in chain:
            self.turn(account, change.at_ms)
            account.adjust(change.amount)
            self.look_at_parked(account, change.at_ms)

    # -- forgetting

    def _forget(self, at_ms: int) -> None:
        while self.closed_names and self.closed_names[0][0] + NAME_MEMORY_MS <= at_ms:
            del self.named[self.closed_names.popleft()[1]]
        if at_ms >= self.holder_timers.next_ms:
            for holder in self.holder_timers.due(at_ms, HOLDERS_AT_ONCE):
                self._forget_holder(holder, at_ms)

    def _forget_holder(self, holder: Holder, at_ms: int) -> None:
        open_ones = any(hold.state is HoldState.OPEN for hold in holder.holds.values())
        forgotten_at_ms = holder.heard_ms + HOLDER_MEMORY_MS
        if open_ones or forgotten_at_ms > at_ms:
            holder.looked_at_ms = max(forgotten_at_ms, at_ms + 1)
            self.holder_timers.add(holder, holder.looked_at_ms)
        else:
            del self.holders[holder.name]


def _summed(posts: Sequence[Post]) -> Post:
    return Post(posts[0].granted_ms, total(post.spent for post in posts), total(post.freed for post in posts))


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
