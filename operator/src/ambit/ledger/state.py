"""The tree as the changes made it: `evolve` is the only thing that alters it, live and at replay alike."""

from collections.abc import Sequence

from ambit.ledger import changes
from ambit.ledger.accounts import Post
from ambit.ledger.amounts import NOTHING, Vector, minus, total
from ambit.ledger.audit import Head
from ambit.ledger.exhaustion import Said
from ambit.ledger.holds import (
    HOLDER_MEMORY_MS,
    NAME_MEMORY_MS,
    Hold,
    Holder,
    HoldState,
    Identity,
    Part,
    identity_of,
)
from ambit.ledger.state_of_sessions import SessionsState, is_idle, session_of

HOLDERS_AT_ONCE = 100
"""How many holders are looked at with one change: whether they are to be forgotten."""


class State(SessionsState):
    """All accounts and holds, as the changes so far made them."""

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
            case changes.IdUsedUp():
                self._use_up(change)
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
                account.policy.smallest.saw(amount if change.at_least is None else change.at_least, at_ms)

    def _register(self, hold: Hold, at_ms: int) -> None:
        """Takes up an open hold; nothing is counted yet."""
        identity = identity_of(hold.id)
        if identity is None or not identity.sequence:
            self.named[hold.component, hold.id] = hold
        else:
            self._heard(identity, hold.component, at_ms).take(hold, identity.sequence)
        self.open(hold)

    def _use_up(self, change: changes.IdUsedUp) -> None:
        identity = identity_of(change.id)
        if identity is not None and identity.sequence:
            self._heard(identity, change.component, change.at_ms)

    def _heard(self, identity: Identity, component: str, at_ms: int) -> Holder:
        """The holder that has used a sequence just now."""
        holder = self.holders.get(identity.holder)
        if holder is None:
            holder = Holder(identity.holder, component, at_ms, at_ms + HOLDER_MEMORY_MS)
            self.add_holder(holder)
        holder.heard_ms = at_ms
        holder.watermark = max(holder.watermark, identity.sequence)
        return holder

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
        elif (account := self.accounts.get(hold.first.path)) is not None:
            session_of(account).silent -= 1  # its holder has spoken after all
        hold.state = how
        self._remember(hold, corrects, at_ms)

    def _leave(self, hold: Hold, expired: bool, at_ms: int) -> None:
        self.open_holds -= 1
        self.expiries.remove(hold, hold.slot)
        hold.leave()
        account = hold.chain[0]
        session = session_of(account)
        if expired:
            session.silent += 1
            for kill in self.killing.values():
                if account in kill.waiting:
                    kill.presumed = True
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
