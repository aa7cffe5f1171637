"""What the model is told of each step of the ledger."""

from collections.abc import Iterable, Sequence

import msgspec

from ambit.ledger import changes, wire
from ambit.ledger.changes import AnyChange

TOLD = frozenset(
    {
        changes.HoldExpired,
        changes.IdUsedUp,
        changes.SessionOver,
        changes.EndingBegun,
        changes.SessionFolded,
        changes.SessionParked,
        changes.SessionWoken,
        changes.KillEnded,
        changes.LimitReached,
        changes.HoldsRecalled,
        changes.RestoreBegun,
    }
)
"""The changes whose time is the ledger's to choose: the model looks whether it was allowed to."""


class Fact(msgspec.Struct, frozen=True):
    """One operation that the writer applied; no operation: time passed."""

    now_ms: int
    component: str = ""
    op: wire.AnyOperation | None = None
    result: wire.AnyResult | None = None
    made: tuple[AnyChange, ...] = ()
    """Those of its changes that are `TOLD`."""

    @property
    def had_no_room(self) -> bool:
        """Whether the disk was full: that is the store's to say."""
        return isinstance(self.result, wire.Refused) and self.result.reason is wire.RefusalReason.STORAGE_FULL

    @property
    def over(self) -> tuple[str, ...]:
        """The sessions that ended."""
        return tuple(each.path for each in self.made if isinstance(each, changes.SessionOver))


def told(made: Sequence[AnyChange] | Iterable[AnyChange]) -> tuple[AnyChange, ...]:
    """Of the changes of a step those that the model is told."""
    return tuple(each for each in made if type(each) in TOLD)
