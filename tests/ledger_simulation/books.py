"""What holders know to be true, whatever the ledger says: what they were granted, what they really used and reported.

A hold is counted as used in full from the moment its grant is known, because the holder may do everything at once; what
is above it counts when its settlement is acknowledged, because only then the ledger can know.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from ambit.ledger import wire
from ambit.ledger.amounts import Vector, plus, split
from ambit.ledger.holds import MARK


@dataclass(slots=True, eq=False)
class Act:
    """What is done under a hold that was granted."""

    id: str
    session: str
    granted: Vector
    """All that was granted, extensions too."""
    asked_more: bool = False
    """An extension was asked for whose answer never came: more may be held than `granted`."""
    used: Vector | None = None
    """What was really used, once it is over; None: anything up to `granted`."""
    reported: bool = False
    """The ledger acknowledged the settlement or release."""
    told: Vector = field(default_factory=dict[int, int])
    """What of it the ledger had forgotten when it was restored, and was told was spent since."""
    told_at: tuple[str, ...] = ()
    """The accounts where that counts."""
    lost: bool = False
    """The restored ledger does not know its hold."""

    def surely_itself(self) -> Vector:
        """What the ledger must count for its hold: without what it was told apart."""
        return split(self.surely(), self.told)[1]

    def surely(self) -> Vector:
        """What the ledger must count at the least: spent and held together."""
        if self.used is None:
            return self.granted
        if self.reported:
            return self.used
        return {index: min(value, self.granted.get(index, 0)) for index, value in self.used.items()}


@dataclass(slots=True)
class Books:
    """Every act of a run, and where sessions are."""

    acts: list[Act] = field(default_factory=list[Act])
    by_id: dict[str, Act] = field(default_factory=dict[str, Act])
    denied: dict[str, wire.Refused | wire.Wait] = field(default_factory=dict[str, wire.Refused | wire.Wait])
    """By numbered ids, what whoever asked for a hold was told in its place: nothing will ever be done under it."""

    def begin(self, hold_id: str, session: str, granted: Vector) -> Act:
        """A grant arrived at its holder."""
        act = Act(hold_id, session, granted)
        self.acts.append(act)
        self.by_id[hold_id] = act
        return act

    def heard(self, ops: Iterable[wire.AnyOperation], results: Iterable[wire.AnyResult]) -> None:
        """Answers arrived at their holder."""
        for op, result in zip(ops, results, strict=True):
            match op, result:
                case _, wire.Refused(reason=wire.RefusalReason.HOLD_EXPIRED | wire.RefusalReason.STORAGE_FULL):
                    pass  # that was its own, and it knows; that is kept once there is room, if the ledger lives so long
                case _, wire.Refused(reason=wire.RefusalReason.RESTORE_PENDING):
                    pass  # to its caller the ledger is away, and nothing is journalled before it is resumed
                case wire.Reserve(), wire.Refused() | wire.Wait() if MARK in op.id:
                    self.denied[op.id] = result
                case _:
                    pass

    def at(self, session: str) -> list[Act]:
        """What was done in a session so far."""
        return [act for act in self.acts if act.session == session]


def total(amounts: Iterable[Vector]) -> Vector:
    """The sum."""
    found: Vector = {}
    for amount in amounts:
        found = plus(found, amount)
    return found
