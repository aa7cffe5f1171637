"""All that the tree is, and what changes do to the accounts of Budgets, Agents and users: their part of `State`."""

from collections import deque
from collections.abc import Callable, Iterator

from ambit.ledger import changes
from ambit.ledger.accounts import Account
from ambit.ledger.audit import Head
from ambit.ledger.ended_windows import EndedWindows
from ambit.ledger.holds import (
    Hold,
    Holder,
    identity_of,
)
from ambit.ledger.paths import kind_of
from ambit.ledger.policy import Policy
from ambit.ledger.sessions import Kill
from ambit.ledger.timers import Timers

NamedKey = tuple[str, str]
"""Component and name: names are unique per component."""


class AccountsState:
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
        self.open_sessions: int = 0
        self.open_holds: int = 0
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

    def look_at_parked(self, account: Account, at_ms: int) -> None:
        """Has the ledger look whether a parked session may wake."""
        policy = account.policy
        if policy is not None and policy.lot:
            self.wake_timers.remove(account, policy.slot)
            policy.slot = self.wake_timers.add(account, max(at_ms, policy.lot.next_wake_ms))
