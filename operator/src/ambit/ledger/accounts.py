"""The things of the tree: accounts with a counter per window, sessions, holds.

They know how to count, not what is allowed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from ambit.ledger.amounts import NOTHING, Limit, Vector, Window, plus, split
from ambit.ledger.windows import LIFETIME, Span, window_after, window_at
from ambit.telemetry.reasons import SessionEnd

HoldKey = tuple[str, str]
"""Component and id: ids are unique per component."""


@dataclass(slots=True)
class Counter:
    """What is spent and held in the window that runs. What earlier windows saw is over and not kept."""

    window: Window
    span: Span
    zone: str
    spent: Vector = field(default_factory=dict[int, int])
    held: Vector = field(default_factory=dict[int, int])

    @classmethod
    def begin(cls, window: Window, zone: str, now_ms: int) -> "Counter":
        """A counter of the window in which `now_ms` lies."""
        return cls(window, window_at(window, zone, now_ms), zone)

    def turn(self, zone: str, now_ms: int) -> None:
        """Goes on to the window of `now_ms` where the present one is over. When it is called makes no difference."""
        ended_ms = self.span.end_ms
        if ended_ms is None or now_ms < ended_ms:
            return
        self.span = window_after(self.window, ended_ms, self.zone, zone, now_ms)
        self.zone = zone
        self.spent = self.held = NOTHING

    def has_seen(self, instant_ms: int) -> bool:
        """Whether what was granted at `instant_ms` counts here: the window has run since."""
        return instant_ms >= self.span.start_ms


@dataclass(slots=True)
class Increment:
    """A part of a hold, and when it was granted: that decides in which windows it counts."""

    granted_ms: int
    amount: Vector
    charged: Vector = field(default_factory=dict[int, int])


class HoldState(Enum):
    """Open, or how it was closed."""

    OPEN = "open"
    SETTLED = "settled"
    RELEASED = "released"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Request:
    """What a reserve or extend asked for, by which a repeated one is known, and what it was granted."""

    want: Vector
    at_least: Vector
    expires_in_ms: int
    granted: Vector

    def same(self, want: Vector, at_least: Vector, expires_in_ms: int) -> bool:
        """Whether this was asked."""
        return (self.want, self.at_least, self.expires_in_ms) == (want, at_least, expires_in_ms)


@dataclass(slots=True)
class Hold:
    """An amount reserved on a session and all above it, as they stood when it was placed."""

    component: str
    id: str
    chain: tuple["Account", ...]
    increments: list[Increment]
    expires_ms: int
    queued_ms: int
    """When the ledger looks at it next: at most `expires_ms`."""
    first: Request
    sequence: int = 0
    last: Request | None = None
    state: HoldState = HoldState.OPEN

    @property
    def key(self) -> HoldKey:
        return (self.component, self.id)

    @property
    def amount(self) -> Vector:
        """All that it holds."""
        total = NOTHING
        for increment in self.increments:
            total = plus(total, increment.amount)
        return total

    def add(self, increment: Increment) -> None:
        """Adds a part. Parts that no counter can tell apart become one, so that a long hold stays small.

        They never will be told apart: windows begin later and later, and these are before or after all that began.
        """
        begun = {counter.span.start_ms for account in self.chain for counter in account.counters.values()}
        parts: list[Increment] = []
        for part in (*self.increments, increment):
            if parts and not any(parts[-1].granted_ms < start_ms <= part.granted_ms for start_ms in begun):
                parts[-1] = Increment(parts[-1].granted_ms, plus(parts[-1].amount, part.amount))
            else:
                parts.append(part)
        self.increments = parts

    def allocate(self, used: Vector) -> tuple[list[Vector], Vector]:
        """What each increment is charged of `used`, oldest first, and what no increment covers."""
        shares: list[Vector] = []
        for increment in self.increments:
            share, used = split(used, increment.amount)
            shares.append(share)
        return shares, used


@dataclass(frozen=True, slots=True)
class Ending:
    """Why and when a session ended."""

    at_ms: int
    reason: SessionEnd
    message: str


@dataclass(slots=True)
class Session:
    """What an account has more where it is a session's."""

    attributes: dict[str, str]
    grace_ms: int
    opened_ms: int
    idle_since_ms: int
    ending: Ending | None = None
    holds: dict[HoldKey, Hold] = field(default_factory=dict[HoldKey, Hold])
    """The open ones."""

    @property
    def abandoned_at_ms(self) -> int | None:
        """When it ends by itself, if nothing is held for it until then."""
        if self.ending is not None or self.holds:
            return None
        return self.idle_since_ms + self.grace_ms


@dataclass(slots=True, eq=False)
class Account:
    """A node of the tree: a Budget, an Agent or a session. Its path is its identity."""

    path: str
    parent: "Account | None"
    limits: tuple[Limit, ...]
    zone: str
    counters: dict[Window, Counter]
    session: Session | None = None
    removed: bool = False
    overrun: Vector = field(default_factory=dict[int, int])
    children: dict[str, "Account"] = field(default_factory=dict[str, "Account"])

    @property
    def namespace(self) -> str:
        return self.path.split("/", 2)[1]

    def chain(self) -> tuple["Account", ...]:
        """This account and all above it, nearest first."""
        found: list[Account] = []
        account: Account | None = self
        while account is not None:
            found.append(account)
            account = account.parent
        return tuple(found)

    def counter(self, window: Window, now_ms: int) -> Counter:
        """The counter of the window that runs at `now_ms`."""
        counter = self.counters[window]
        counter.turn(self.zone, now_ms)
        return counter

    def turn(self, now_ms: int) -> None:
        """Brings every counter to the window of `now_ms`."""
        for counter in self.counters.values():
            counter.turn(self.zone, now_ms)

    def sessions(self) -> Iterator["Account"]:
        """Every session at and under this account."""
        pending: list[Account] = [self]
        while pending:
            account = pending.pop()
            if account.session is not None:
                yield account
            pending.extend(account.children.values())

    def hold(self, amount: Vector, now_ms: int) -> None:
        """Counts `amount` as held, in every window."""
        for counter in self.counters.values():
            counter.turn(self.zone, now_ms)
            counter.held = plus(counter.held, amount)

    def charge(self, increment: Increment, share: Vector, now_ms: int) -> None:
        """Counts `share` as spent in place of a held increment, in the windows that saw it granted."""
        for counter in self.counters.values():
            counter.turn(self.zone, now_ms)
            if counter.has_seen(increment.granted_ms):
                counter.held = _subtract(counter.held, increment.amount)
                counter.spent = plus(counter.spent, share)

    def recharge(self, increment: Increment, share: Vector, now_ms: int) -> None:
        """Corrects what an increment was charged to `share`, in the windows that saw it granted."""
        for counter in self.counters.values():
            counter.turn(self.zone, now_ms)
            if counter.has_seen(increment.granted_ms):
                counter.spent = plus(_subtract(counter.spent, increment.charged), share)

    def record_overrun(self, excess: Vector, now_ms: int) -> None:
        """Counts what was used without a hold: spent now, whatever the limits say."""
        for counter in self.counters.values():
            counter.turn(self.zone, now_ms)
            counter.spent = plus(counter.spent, excess)
        self.overrun = plus(self.overrun, excess)


def _subtract(a: Vector, b: Vector) -> Vector:
    # Exact on purpose: a sum that goes below zero is a defect, which the invariant finds and a clamp would hide.
    return {index: left for index in a.keys() | b.keys() if (left := a.get(index, 0) - b.get(index, 0))}


def counting_everything(zone: str, now_ms: int) -> dict[Window, Counter]:
    """The counters of a Budget or Agent: every window, limited or not, so that a limit added later has counted."""
    return {window: Counter.begin(window, zone, now_ms) for window in Window}


def counting_lifetime(zone: str) -> dict[Window, Counter]:
    """The counters of a session."""
    return {Window.LIFETIME: Counter(Window.LIFETIME, LIFETIME, zone)}
