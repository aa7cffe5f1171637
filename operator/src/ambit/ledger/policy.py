"""What an account remembers for its policies: what it warned of, was topped up by, and has parked.

Only accounts whose allowance asks for any of it have one: an idle session has none.
"""

from dataclasses import dataclass, field

import msgspec

from ambit.ledger.allowance import Allowance
from ambit.ledger.amounts import NOTHING, Limit, Vector
from ambit.ledger.exhaustion import Bound, Parked, ParkingLot, Raise, Said, SmallestCalls, raised
from ambit.ledger.wire.vocabulary import WhenExhausted


class PolicyImage(msgspec.Struct, frozen=True, array_like=True):
    """A `Policy` in a snapshot."""

    applied: list[str]
    raises: list[tuple[Bound, Raise]]
    said: list[tuple[Bound, Said]]
    smallest: Vector
    waiting: list[tuple[str, Parked]]
    next_wake_ms: int
    smallest_before: Vector = NOTHING
    smallest_since_ms: int = 0


@dataclass(slots=True, eq=False)
class Policy:
    """The memory of one account."""

    applied: dict[str, None] = field(default_factory=dict[str, None])
    """The ids of all top-ups that were ever applied, in their order."""
    raises: dict[Bound, Raise] = field(default_factory=dict[Bound, Raise])
    said: dict[Bound, Said] = field(default_factory=dict[Bound, Said])
    smallest: SmallestCalls = field(default_factory=SmallestCalls)
    lot: ParkingLot = field(default_factory=ParkingLot)
    slot: int = 0
    """Of the timer by which the parked are looked at."""

    def top_up(self, top_up_id: str, bound: Bound, begun_ms: int, amount: int) -> None:
        """Raises a limit in the window that began at `begun_ms`."""
        self.applied[top_up_id] = None
        self.raises[bound] = Raise(begun_ms, raised(self.raises, bound, begun_ms) + amount)

    def limits(self, limits: tuple[Limit, ...]) -> tuple[Limit, ...]:
        """The limits with what they were raised by. Raises of windows that ended were taken out by `expire`."""
        if not self.raises:
            return limits
        return tuple(
            Limit(limit.window, limit.resource, limit.amount + found.amount)
            if (found := self.raises.get((limit.window, limit.resource)))
            else limit
            for limit in limits
        )

    def image(self) -> PolicyImage:
        """This as a value."""
        return PolicyImage(
            list(self.applied),
            sorted(self.raises.items()),
            sorted(self.said.items()),
            dict(sorted(self.smallest.recent.items())),
            self.lot.waiting(),
            self.lot.next_wake_ms,
            dict(sorted(self.smallest.before.items())),
            self.smallest.since_ms,
        )

    @classmethod
    def of(cls, image: PolicyImage) -> "Policy":
        """The memory of an image."""
        return cls(
            dict.fromkeys(image.applied),
            dict(image.raises),
            dict(image.said),
            SmallestCalls(image.smallest_since_ms, image.smallest, image.smallest_before),
            ParkingLot(image.waiting, image.next_wake_ms),
        )


def has_policy(allowance: Allowance) -> bool:
    """Whether an account with this allowance has something to remember."""
    return bool(allowance.warn_at or allowance.top_ups) or allowance.when_exhausted is not WhenExhausted.DENY
