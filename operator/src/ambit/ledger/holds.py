"""Holds, and who they belong to: holders that number theirs, and names that stand alone."""

from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

import msgspec

from ambit.ledger.accounts import Account
from ambit.ledger.amounts import Vector, minus, plus, split, total
from ambit.ledger.changes import HoldExtended, HoldPlaced
from ambit.ledger.sessions import NO_HOLDS

MARK = "#"
"""Between a holder and a sequence in the id of a hold."""
HOLDER_MEMORY_MS = 24 * 3600 * 1000
"""How long a holder is known after its last word; and its expired holds, so that their true settle is taken."""
NAME_MEMORY_MS = 10 * 60 * 1000
"""How long the name of a closed hold is remembered: for repeats of what closed it, and for a true settle."""


class HoldState(Enum):
    """Open, or how it was closed."""

    OPEN = "open"
    SETTLED = "settled"
    RELEASED = "released"
    EXPIRED = "expired"


class Part(msgspec.Struct, frozen=True, array_like=True):
    """A part of a hold, and when it was granted: that decides in which windows it counts."""

    granted_ms: int
    amount: Vector
    apart: bool = False
    """Whether a window of which there is a history began between the part before and this one."""


@dataclass(slots=True, eq=False)
class Hold:
    """An amount reserved on a session and all above it, as they stood when it was placed."""

    chain: tuple[Account, ...]
    first: HoldPlaced
    """What it was asked for, by which a repeated reserve is known, and what it was granted."""
    parts: tuple[Part, ...]
    expires_ms: int
    last: HoldExtended | None = None
    """Likewise, of its last extension."""
    state: HoldState = HoldState.OPEN
    speculative: bool = False
    slot: int = 0
    """Of its timer."""
    holder: "Holder | None" = None
    """None where its id is a name."""
    number: int = 0
    """Its sequence among those of its holder."""
    left: tuple[str, ...] = ()
    """The paths of sessions that folded out of its chain before a snapshot was taken up."""

    @property
    def component(self) -> str:
        return self.first.component

    @property
    def id(self) -> str:
        return self.first.id

    @property
    def sequence(self) -> int:
        """Of its last extension; 0 before the first."""
        return 0 if self.last is None else self.last.sequence

    @property
    def amount(self) -> Vector:
        """All that it holds."""
        first, *more = self.parts
        return total(part.amount for part in self.parts) if more else first.amount

    def add(self, granted_ms: int, amount: Vector) -> None:
        """Adds a part. Parts that belong to the same windows become one, so that a long hold stays small.

        To the same windows that run, which count them, and to the same ones of which there is a history: a Minute ends
        without one, so that a hold comes to a part for each Hour in which it grew.
        """
        last = self.parts[-1]
        if all(account.begun_ms <= last.granted_ms for account in self.chain):
            self.parts = (*self.parts[:-1], _merged(last, amount))
            return
        apart = any(last.granted_ms < account.recorded_from_ms() for account in self.chain)
        begun = {running.start_ms for account in self.chain for running in account.windows}
        parts: list[Part] = []
        for each in (*self.parts, Part(granted_ms, amount, apart)):
            before = parts[-1] if parts else None
            if before is None or each.apart or any(before.granted_ms < ms <= each.granted_ms for ms in begun):
                parts.append(each)
            else:
                parts[-1] = _merged(before, each.amount)
        self.parts = tuple(parts)

    def allocate(self, used: Vector) -> tuple[list[Vector], Vector]:
        """What each part is charged of `used`, oldest first, and what no part covers."""
        shares: list[Vector] = []
        for part in self.parts:
            share, used = split(used, part.amount)
            shares.append(share)
        return shares, used

    def enter(self) -> None:
        """Counts it among the open holds of its session, and among those that its accounts may recall."""
        session = self.chain[0].session
        if session is not None:
            if session.holds is NO_HOLDS:
                session.holds = {}
            session.holds[self] = None
        if self.speculative:
            for account in self.chain:
                account.speculative = plus(account.speculative, self.amount)
                if account.recallable is NO_HOLDS:
                    account.recallable = {}
                account.recallable[self] = None

    def leave(self) -> None:
        """Takes it out again."""
        session = self.chain[0].session
        if session is not None:
            del session.holds[self]
            if not session.holds:
                session.holds = NO_HOLDS
        self.be_in_use()

    def be_in_use(self) -> None:
        """It is no longer speculative: the act that it was for has come, or it is closed."""
        if self.speculative:
            self.speculative = False
            for account in self.chain:
                account.speculative = minus(account.speculative, self.amount)
                self.recall_from(account)

    def recall_from(self, account: Account) -> None:
        """It is not to be recalled from this account any more."""
        if account.recallable is not NO_HOLDS:
            account.recallable.pop(self, None)
            if not account.recallable:
                account.recallable = NO_HOLDS


class Identity(NamedTuple):
    """A hold's id, taken apart. `sequence` is 0 where it is a name."""

    holder: str
    sequence: int


@lru_cache(maxsize=4096)  # an operation and its change ask for the same one
def identity_of(hold_id: str) -> Identity | None:
    """None where the id has a mark and no sequence after it."""
    holder, mark, number = hold_id.rpartition(MARK)
    if not mark:
        return Identity("", 0)
    if not holder or not number.isascii() or not number.isdecimal() or number[0] == "0" or len(number) > 15:
        return None
    return Identity(holder, int(number))


@dataclass(slots=True, eq=False)
class Holder:
    """A process that numbers its holds. It belongs to the component that used it first."""

    name: str
    component: str
    heard_ms: int
    looked_at_ms: int
    """When the ledger looks next whether to forget it. Kept in snapshots: a replay forgets when the writer did."""
    watermark: int = 0
    """The highest sequence that was answered. Whatever is not above it, and not in `holds`, is over."""
    holds: dict[int, Hold] = field(default_factory=dict[int, Hold])
    """By sequence, the open and the expired ones."""

    def take(self, hold: Hold, sequence: int) -> None:
        """Counts a hold as this holder's."""
        hold.holder, hold.number = self, sequence
        self.holds[sequence] = hold

    def drop(self, hold: Hold) -> None:
        """Forgets a hold that is settled or released."""
        del self.holds[hold.number]


def _merged(part: Part, amount: Vector) -> Part:
    return Part(part.granted_ms, plus(part.amount, amount), part.apart)
