"""The nodes of the tree: accounts with their totals and running windows.

They know how to count, not what is allowed. An idle session is kept small: a million of them are in memory.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

from ambit.ledger.allowance import (
    KEPT_WINDOWS,
    RUNNING_WINDOWS,
    Allowance,
    Bounds,
    bounds_of,
    interned,
    lifetime_ceilings,
    place_of,
)
from ambit.ledger.amounts import NOTHING, RESOURCES, Limit, Vector, Window, plus, total
from ambit.ledger.policy import Policy, has_policy
from ambit.ledger.running import ZEROS, Ended, Running, begun, following
from ambit.ledger.sessions import NO_HOLDS, Kill, Session
from ambit.ledger.timers import NEVER
from ambit.ledger.windows import Span, window_when
from ambit.ledger.wire.vocabulary import Enforcement

if TYPE_CHECKING:
    from ambit.ledger.holds import Hold

NOTHING_HELD = cast(list[int], ZEROS)
"""Shared by all that hold nothing: a tuple, so that counting in it by mistake raises."""
NO_CHILDREN: "dict[str, Account]" = {}
"""Shared by all accounts without one. Never altered."""

ZONES_REMEMBERED = 32
"""How many of an account's time zones are known: late charges find by them which windows they belong to."""


class Post(NamedTuple):
    """What an account counts when a part of a hold is closed. When that was granted decides in which windows."""

    granted_ms: int
    spent: Vector
    """Signed: a correction takes off."""
    freed: Vector
    """What is no longer held."""


class Account:
    """A node of the tree: a Budget, an Agent, a user of an Agent, or a session. Its path is its identity."""

    __slots__ = (
        "_ceilings",
        "adopted",
        "allowance",
        "begun_ms",
        "bounds",
        "children",
        "held",
        "kill",
        "overrun",
        "parent",
        "path",
        "policy",
        "recallable",
        "removed",
        "session",
        "sessions_open",
        "speculative",
        "spent",
        "turns_at_ms",
        "windows",
        "zone",
        "zones",
    )

    def __init__(self, path: str, allowance: Allowance, zone: str, windows: tuple[Running, ...]) -> None:
        self.path = path
        self.parent: Account | None = None
        self.zone = zone
        self.zones: tuple[tuple[int, str], ...] = ()
        """Once it had another: all of them in order, each with the instant from which on."""
        self.policy: Policy | None = None
        self.allow(allowance)
        self.spent: list[int] = [0] * len(RESOURCES)
        self.held: list[int] = NOTHING_HELD
        self.set_windows(windows)
        self.overrun: Vector = NOTHING
        self.removed = False
        self.session: Session | None = None
        self.children: dict[str, Account] = NO_CHILDREN
        self.adopted: dict[str, Account] = NO_CHILDREN
        """Of an Agent: sub-sessions that run in its name under sessions of others."""
        self.sessions_open = 0
        """The gauge: sessions under it that are open, or still hold something."""
        self.kill: Kill | None = None
        self.speculative: Vector = NOTHING
        """What of `held` is held for acts that may come."""
        self.recallable: dict[Hold, None] = NO_HOLDS
        """Speculative holds on it that have not been recalled, oldest first."""

    @classmethod
    def counting_everything(cls, path: str, allowance: Allowance, zone: str, now_ms: int) -> "Account":
        """A Budget's or Agent's: every window, limited or not, so that a limit added later has counted."""
        return cls(path, allowance, zone, begun(zone, now_ms))

    @property
    def in_shadow(self) -> bool:
        """Whether it only says what it would refuse."""
        return self.allowance.enforcement is Enforcement.SHADOW

    @property
    def namespace(self) -> str:
        return self.path.split("/", 2)[1]

    def allow(self, allowance: Allowance) -> None:
        """Sets what it allows."""
        self.allowance = interned(allowance)
        if self.policy is None and has_policy(allowance):
            self.policy = Policy()
        self._bind()

    def set_zone(self, zone: str, at_ms: int) -> None:
        """Has the windows that begin from now on measured in `zone`. `turn` comes first."""
        if zone != self.zone:
            self.zones = (*(self.zones or ((0, self.zone),)), (at_ms, zone))[-ZONES_REMEMBERED:]
            self.zone = zone

    def _bind(self) -> None:
        self.bounds: Bounds = bounds_of(self.limits)
        self._ceilings: Vector | None = None

    def _run(self, windows: tuple[Running, ...]) -> None:
        self.windows = windows
        self._ceilings = None

    @property
    def ceilings(self) -> Vector:
        """How high spent and held of its lifetime may go together by the limits of all its windows, of what is limited.

        A window's limit is one of the lifetime's while it runs: what stood when it began does not count in it.
        """
        if self._ceilings is None:
            self._ceilings = (
                {
                    index: min(
                        bound.amount if bound.place < 0 else bound.amount + self.windows[bound.place].taken[index]
                        for bound in bounds
                    )
                    for index, bounds in self.bounds.items()
                }
                if self.windows
                else lifetime_ceilings(self.limits)
            )
        return self._ceilings

    def set_policy(self, policy: Policy) -> None:
        """Sets what it remembers."""
        self.policy = policy
        self._bind()

    @property
    def limits(self) -> tuple[Limit, ...]:
        """What it allows in the windows that run: its allowance, and what that was topped up by."""
        return self.allowance.limits if self.policy is None else self.policy.limits(self.allowance.limits)

    def window_begun_ms(self, window: Window) -> int:
        """When the window of that kind began that runs; 0 for the lifetime."""
        return 0 if window is Window.LIFETIME else self.windows[place_of(window)].start_ms

    def set_windows(self, windows: tuple[Running, ...]) -> None:
        """Sets the windows that run."""
        self._run(windows)
        self.turns_at_ms = min((running.end_ms for running in windows), default=NEVER)
        """When the first of its windows ends."""
        self.begun_ms = max((running.start_ms for running in windows), default=0)
        """When the youngest of them began: what was granted since counts in each of them."""

    def recorded_from_ms(self) -> int:
        """When the youngest of those windows began of which there will be a history; 0 where it has none."""
        windows = zip(RUNNING_WINDOWS, self.windows, strict=True) if self.windows else ()
        return max((running.start_ms for window, running in windows if window in KEPT_WINDOWS), default=0)

    def chain(self) -> "tuple[Account, ...]":
        """This account and all above it, nearest first."""
        found: list[Account] = [self]
        account = self.parent
        while account is not None:
            found.append(account)
            account = account.parent
        return tuple(found)

    def attach(self, parent: "Account | None") -> None:
        """Puts it under another account, with the sessions under it, not those in its name elsewhere."""
        moved = self.sessions_open - sum(
            each.session is not None and each.session.counts for each in self.adopted.values()
        )
        if self.parent is not None:
            del self.parent.children[self.path]
            for above in self.parent.chain():
                above.sessions_open -= moved
        self.parent = parent
        if parent is not None:
            if parent.children is NO_CHILDREN:
                parent.children = {}
            parent.children[self.path] = self
            for above in parent.chain():
                above.sessions_open += moved

    def sessions(self) -> "Iterator[Account]":
        """Every session at and under this account, and those in its name elsewhere."""
        seen: set[Account] = set()
        pending: list[Account] = [self]
        while pending:
            account = pending.pop()
            if account in seen:
                continue
            seen.add(account)
            if account.session is not None:
                yield account
            pending.extend(account.children.values())
            pending.extend(account.adopted.values())

    def turn(self, now_ms: int) -> list[Ended]:
        """Brings every window to `now_ms`; those that ended. When it is called makes no difference to what counts."""
        spent, held = tuple(self.spent), tuple(self.held)
        windows: list[Running] = []
        ended: list[Ended] = []
        for window, running in zip(RUNNING_WINDOWS, self.windows, strict=True):
            if now_ms < running.end_ms:
                windows.append(running)
                continue
            seen = {index: now - then for index, (now, then) in enumerate(zip(spent, running.spent, strict=True))}
            ended.append(Ended(window, running.start_ms, running.end_ms, _without_zeros(seen)))
            windows.append(following(window, running, self.zone, now_ms, spent, held))
        self.set_windows(tuple(windows))
        if self.policy is not None:
            self._turn_policy(self.policy, {each.window for each in ended})
        return ended

    def _turn_policy(self, policy: Policy, ended: set[Window]) -> None:
        for bound in [bound for bound in policy.raises if bound[0] in ended]:
            del policy.raises[bound]
            self._bind()

    def hold(self, amount: Vector) -> None:
        """Counts what is granted now as held: in the totals, so in every window. `turn` comes first."""
        held = self.held
        if held is NOTHING_HELD:
            held = self.held = [0] * len(RESOURCES)
        for index, each in amount.items():
            held[index] += each

    def post(self, spent: Vector, freed: Vector) -> None:
        """Counts in the totals, so in every window. `turn` comes first."""
        totals = self.spent
        for index, amount in spent.items():
            totals[index] += amount
        if freed:
            totals = self.held
            for index, amount in freed.items():
                totals[index] -= amount

    def post_before(self, posts: "Sequence[Post]") -> None:
        """Takes what was posted out of the windows that began after it was granted: it is not theirs."""
        windows: list[Running] = []
        for running in self.windows:
            earlier = [post for post in posts if post.granted_ms < running.start_ms]
            windows.append(
                running.shifted(total(post.spent for post in earlier), total(post.freed for post in earlier))
                if earlier
                else running
            )
        self._run(tuple(windows))

    def late(self, posts: "Sequence[Post]") -> Iterator[Ended]:
        """What of `posts`, oldest first, belongs to windows that are over, of which there is a history."""
        zones = self.zones or ((0, self.zone),)
        for window, running in zip(RUNNING_WINDOWS, self.windows, strict=True):
            if window not in KEPT_WINDOWS:
                continue
            span = Span(0, 0)
            for post in posts:
                if post.granted_ms >= running.start_ms:
                    break
                if span.over(post.granted_ms):
                    span = window_when(window, zones, post.granted_ms)
                yield Ended(window, span.start_ms, running.start_ms if span.end_ms is None else span.end_ms, post.spent)

    def level(self) -> None:
        """Has no window stand below nothing: what was taken off may be more than what it has seen."""
        for place, running in enumerate(self.windows):
            below = {index: seen for index, seen in self.spent_in(place).items() if seen < 0}
            if below:
                windows = list(self.windows)
                windows[place] = running.shifted(below, NOTHING)
                self._run(tuple(windows))

    def rest(self) -> None:
        """Gives back the memory that it needs only while it holds something."""
        if not any(self.held):
            self.held = NOTHING_HELD

    def adjust(self, amount: Vector) -> None:
        """Corrects what is spent, now, by a signed amount; no window falls below nothing by it."""
        self.post(amount, NOTHING)
        self.level()

    def spent_in(self, place: int) -> Vector:
        """What is spent in a window that runs, by its place; of the lifetime, for `LIFETIME_PLACE`."""
        return self._seen(self.spent, None if place < 0 else self.windows[place].spent)

    def held_in(self, place: int) -> Vector:
        """What is held, likewise."""
        return self._seen(self.held, None if place < 0 else self.windows[place].held)

    def _seen(self, totals: list[int], before: tuple[int, ...] | None) -> Vector:
        if before is None:
            return {index: amount for index, amount in enumerate(totals) if amount}
        return {index: left for index, amount in enumerate(totals) if (left := amount - before[index])}

    def record_overrun(self, excess: Vector) -> None:
        """Counts what was used without a hold as spent now, whatever the limits say."""
        self.post(excess, NOTHING)
        self.overrun = plus(self.overrun, excess)


def _without_zeros(amounts: Vector) -> Vector:
    return {index: amount for index, amount in amounts.items() if amount}
