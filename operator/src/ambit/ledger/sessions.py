"""What an account has more where it is a session's: whose it is, how it ends, what it holds. And its last kill."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ambit.ledger.wire.vocabulary import Confirmation
from ambit.telemetry.reasons import SessionEnd

if TYPE_CHECKING:
    from ambit.ledger.accounts import Account
    from ambit.ledger.holds import Hold

NO_HOLDS: "dict[Hold, None]" = {}
"""Shared by all sessions without one. Never altered."""


@dataclass(frozen=True, slots=True)
class Ending:
    """Why and when a session ended."""

    at_ms: int
    reason: SessionEnd
    message: str


@dataclass(slots=True, eq=False)
class Session:
    """What an account has more where it is a session's."""

    attributes: dict[str, str]
    grace_ms: int
    opened_ms: int
    idle_since_ms: int
    user: str
    labels: dict[str, str]
    agent: "Account | None" = None
    """Of a sub-session, the Agent in whose name it runs, where that is not above it."""
    ending: Ending | None = None
    doomed: Ending | None = None
    """How it is to end, where it is one of many that end bit by bit: nothing new is held for it any more."""
    holds: "dict[Hold, None]" = field(default_factory=lambda: NO_HOLDS)
    """The open ones."""
    timer: int = 0
    """The slot of its timer: of its being abandoned, or of its folding once it has ended."""
    gone: bool = False
    """Whether it has ended and holds nothing any more: it acts no longer, and no gauge counts it."""
    parked_by: "Account | None" = None
    """The exhausted account that parked it."""
    away: bool = False
    """Whether it is parked and holds nothing any more: it has given its slot back, and no gauge counts it."""
    silent: int = 0
    """How many of its holds have expired of which nobody has said since what became of them."""

    @property
    def counts(self) -> bool:
        """Whether gauges count it."""
        return not self.gone and not self.away

    @property
    def over(self) -> Ending | None:
        """How it has ended, or is about to."""
        return self.doomed if self.ending is None else self.ending


@dataclass(slots=True, eq=False)
class Kill:
    """The last kill of an account, and which sessions may still act since."""

    at_ms: int
    waiting: "set[Account]"
    presumed: bool = False
    """Whether a hold of what it found has expired, then or before: its holder was silent, and may act yet."""
    confirmed: Confirmation | None = None
