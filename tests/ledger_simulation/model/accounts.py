"""The model's accounts: a counter for each window that runs, and what became of those that ended."""

from dataclasses import dataclass, field

import msgspec

from ambit.ledger import wire
from ambit.ledger.amounts import RESOURCES, Limit, Resource, Vector, Window, plus
from ambit.ledger.windows import Span

SIZE = len(RESOURCES)
Bound = tuple[Window, Resource]


class Running(msgspec.Struct):
    """A window that runs, and what stands in it."""

    window: Window
    span: Span
    zone: str
    spent: list[int]
    held: list[int]

    @classmethod
    def begun(cls, window: Window, span: Span, zone: str) -> "Running":
        """One in which nothing stands yet."""
        return cls(window, span, zone, [0] * SIZE, [0] * SIZE)


class Parking(msgspec.Struct, frozen=True):
    """Where a session is parked, and for what it waits."""

    by: "ModelAccount"
    window: Window
    resource: Resource
    need: int

    def __str__(self) -> str:
        return f"by {self.by.path}, for {self.need} {self.resource} of its {self.window}"


class ModelKill(msgspec.Struct):
    """The last kill of an account."""

    waiting: "list[ModelAccount]"
    """The sessions that it found and that may still act."""
    presumed: bool = False
    confirmed: wire.Confirmation | None = None


@dataclass(slots=True, eq=False, repr=False)
class ModelAccount:
    """An account as the model sees it."""

    path: str
    parent: "ModelAccount | None"
    base: tuple[Limit, ...]
    """Its limits as they were put, or opened with."""
    zone: str
    running: list[Running]
    put: wire.PutAccount | None = None
    """As the operator last put it."""
    removed: bool = False
    opened: wire.Open | None = None
    """Of a session."""
    agent: "ModelAccount | None" = None
    """Of a sub-session, the Agent in whose name it runs, where that is not above it."""
    doomed: bool = False
    """Whether it is one of many sessions that are about to end: nothing new is held for it any more."""
    ended: bool = False
    ended_ms: int = 0
    busy_ms: int = 0
    """When something was last held for it, or under it."""
    open_holds: int = 0
    silent: int = 0
    """Holds that expired, and of which nobody has spoken since."""
    lowered: Vector = field(default_factory=dict[int, int])
    """What the operator took off what was spent."""
    taken_back: dict[Window, Vector] = field(default_factory=dict[Window, Vector])
    """What of that a window had not seen: it stays in the records of those before."""
    turns_ms: int = 0
    """When the first of its windows ends."""
    topped_up: set[str] = field(default_factory=set[str])
    raised: dict[Bound, tuple[int, int]] = field(default_factory=dict[Bound, tuple[int, int]])
    """By which amount, in the window that began then."""
    warned: dict[Bound, tuple[int, int]] = field(default_factory=dict[Bound, tuple[int, int]])
    """Of which percentage at the most, in the window that began then."""
    parked: Parking | None = None
    lot: "list[ModelAccount]" = field(default_factory=list["ModelAccount"])
    """The sessions that it parked, in their order."""
    next_wake_ms: int = 0
    looks: bool = False
    """Whether it was ever asked to look at what is spent."""
    smallest: dict[int, Vector] = field(default_factory=dict[int, Vector])
    """By the day, the least that was granted holds asked for."""
    kill: ModelKill | None = None
    limits: tuple[Limit, ...] = ()
    """With what they are raised by."""

    def __repr__(self) -> str:
        return self.path

    def __post_init__(self) -> None:
        self.look_at_limits()

    def look_at_limits(self) -> None:
        """Makes `limits` anew."""
        self.limits = tuple(
            Limit(each.window, each.resource, each.amount + self.raised.get((each.window, each.resource), (0, 0))[1])
            for each in self.base
        )

    def chain(self) -> "tuple[ModelAccount, ...]":
        """It and all above it."""
        found: list[ModelAccount] = []
        account: ModelAccount | None = self
        while account is not None:
            found.append(account)
            account = account.parent
        return tuple(found)

    def at(self, window: Window) -> Running:
        """The window of that kind that runs."""
        for running in self.running:
            if running.window is window:
                return running
        raise KeyError(f"the model does not count {window} of {self.path}")

    def level(self, running: Running) -> None:
        """Has a window stand at nothing at the least: the operator took off what it has not seen, or a second time."""
        for index, spent in enumerate(running.spent):
            if spent < 0:
                before = self.taken_back.get(running.window, {})
                self.taken_back[running.window] = plus(before, {index: -spent})
                running.spent[index] = 0

    def begun_ms(self, window: Window) -> int:
        """When it began."""
        return self.at(window).span.start_ms

    def bounds(self, extends: bool) -> tuple[Limit, ...]:
        """Its limits, as they concern who asks: a hold that is extended is not held up by a rate."""
        if not extends:
            return self.limits
        return tuple(each for each in self.limits if each.window is not Window.MINUTE)

    @property
    def closed(self) -> bool:
        """Whether nothing more may be held here."""
        return self.removed or self.ended or self.doomed

    @property
    def shadow(self) -> bool:
        """Whether its limits refuse nothing. A user's stand as its Agent's."""
        put = self.parent.put if self.parent is not None and self.path.startswith("user/") else self.put
        return put is not None and put.enforcement is wire.Enforcement.SHADOW

    @property
    def when_exhausted(self) -> wire.WhenExhausted:
        """What becomes of its sessions then."""
        return wire.WhenExhausted.DENY if self.put is None else self.put.when_exhausted

    @property
    def acts(self) -> bool:
        """Whether something of a session may still act."""
        return self.opened is not None and (not self.ended or self.open_holds > 0)

    @property
    def counts(self) -> bool:
        """Whether a session has a slot: one that is parked and holds nothing has given it back."""
        return self.acts and not (self.parked is not None and not self.open_holds)
