"""The facts that the journal keeps. The tree is what follows from them, in order, and from nothing else.

They record what happened, not what was asked: a later version with other rules of admission replays the same balances.
Encoded by position; a new field goes last and has a default.
"""

from typing import ClassVar

import msgspec

from ambit.ledger.allowance import Allowance
from ambit.ledger.amounts import Limit, Resource, Vector, Window
from ambit.ledger.wire.vocabulary import Confirmation
from ambit.telemetry.reasons import SessionEnd


class Change(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """One fact, and when the ledger's clock says that it became one."""

    at_ms: int


class AccountChanged(Change, frozen=True, tag="account"):
    """An account that is no session's came, came back, or allows something else, or has another zone."""

    path: str
    parent: str | None
    allowance: Allowance
    zone: str


class AccountGone(Change, frozen=True, tag="gone"):
    """A Budget's or Agent's account became a tombstone."""

    path: str


class SessionBegun(Change, frozen=True, tag="begun"):
    """A session was opened. `agent` is that of a sub-session."""

    path: str
    parent: str
    limits: tuple[Limit, ...]
    attributes: dict[str, str]
    grace_ms: int
    user: str = ""
    labels: dict[str, str] = {}
    agent: str | None = None


class SessionOver(Change, frozen=True, tag="over"):
    """A session ended, for good. `cut`: by another than its holder, who has to be told."""

    path: str
    reason: SessionEnd
    message: str
    cut: bool


class EndingBegun(Change, frozen=True, tag="ending"):
    """Every open session at and under an account is about to end, bit by bit, because there are many."""

    path: str
    reason: SessionEnd
    message: str


class SessionFolded(Change, frozen=True, tag="folded"):
    """The account of a session that ended is no longer in memory: a record has its usage, those above it its spend."""

    path: str


class HoldPlaced(Change, frozen=True, tag="hold"):
    """`amount` is held on the session and all above it.

    `want` and `at_least` are as asked; None: the same as `amount`.
    """

    component: str
    id: str
    path: str
    amount: Vector
    expires_in_ms: int
    want: Vector | None = None
    at_least: Vector | None = None
    speculative: bool = False

    def asked(self) -> tuple[str, Vector, Vector, int]:
        """What was asked for."""
        want = self.amount if self.want is None else self.want
        return self.path, want, self.amount if self.at_least is None else self.at_least, self.expires_in_ms


class HoldExtended(Change, frozen=True, tag="more"):
    """`amount` more is held, and the expiry moved. `want` and `at_least` as of a hold."""

    component: str
    id: str
    sequence: int
    amount: Vector
    expires_in_ms: int
    want: Vector | None = None
    at_least: Vector | None = None

    def asked(self) -> tuple[Vector, Vector, int]:
        """What was asked for."""
        want = self.amount if self.want is None else self.want
        return want, self.amount if self.at_least is None else self.at_least, self.expires_in_ms


class HoldSettled(Change, frozen=True, tag="used"):
    """A hold was replaced by what was used; of an expired one, the charge was corrected to it."""

    component: str
    id: str
    used: Vector


class HoldReleased(Change, frozen=True, tag="released"):
    """A hold was dropped, or the charge of an expired one taken back: the act did not happen."""

    component: str
    id: str
    reason: str


class HoldExpired(Change, frozen=True, tag="expired"):
    """Nobody settled a hold in time: all of it is charged."""

    component: str
    id: str


class IdUsedUp(Change, frozen=True, tag="usedUp"):
    """A reserve was not granted: nothing is ever held by its id, which has a sequence."""

    component: str
    id: str


class HoldsRecalled(Change, frozen=True, tag="recalled"):
    """An account wants speculative holds back, for a real call. They stay until their holders give them back."""

    path: str
    holds: tuple[tuple[str, str], ...]
    """Component and id."""


class KillBegun(Change, frozen=True, tag="kill"):
    """A kill of an account: from now on it is watched until nothing of it may still act."""

    path: str


class KillEnded(Change, frozen=True, tag="killed"):
    """Nothing of a killed account acts any more."""

    path: str
    how: Confirmation
    after_ms: int


class Adjusted(Change, frozen=True, tag="adjusted"):
    """What an account and all above it have spent was corrected by a signed amount."""

    path: str
    amount: Vector


class ClockDoubted(Change, frozen=True, tag="doubted"):
    """The clock jumped forward: time goes on by the monotonic clock."""


class ClockTrusted(Change, frozen=True, tag="trusted"):
    """Time goes by the clock again."""


class RestoreBegun(Change, frozen=True, tag="restored"):
    """The journal is from a backup: nothing is answered until somebody says what was spent since."""


class RestoreEnded(Change, frozen=True, tag="resumed"):
    """The ledger answers again."""


class WindowsTurned(Change, frozen=True, tag="turned"):
    """Windows of an account ended, and records say what was spent in them: they are not recorded again."""

    path: str


class TopUpApplied(Change, frozen=True, tag="toppedUp"):
    """A limit allows `amount` more in the window that runs. Never again by this id."""

    path: str
    id: str
    window: Window
    resource: Resource
    amount: int


class LimitReached(Change, frozen=True, tag="reached"):
    """What is spent has reached `percent` of a limit for the first time in its window."""

    path: str
    window: Window
    resource: Resource
    percent: int


class SessionParked(Change, frozen=True, tag="parked"):
    """The account `by` is exhausted and parked a session, whose call needed `need`."""

    path: str
    by: str
    window: Window
    resource: Resource
    need: int


class SessionWoken(Change, frozen=True, tag="woken"):
    """A parked session may go on."""

    path: str


class Audited(Change, frozen=True, tag="audited"):
    """A record of the audit was sealed: the chain has so many now, and this is the last one's hash."""

    sequence: int
    hash: str


AnyChange = (
    HoldPlaced
    | HoldExtended
    | HoldSettled
    | HoldReleased
    | HoldExpired
    | IdUsedUp
    | HoldsRecalled
    | AccountChanged
    | AccountGone
    | SessionBegun
    | SessionOver
    | EndingBegun
    | SessionFolded
    | KillBegun
    | KillEnded
    | Adjusted
    | ClockDoubted
    | ClockTrusted
    | RestoreBegun
    | RestoreEnded
    | WindowsTurned
    | TopUpApplied
    | LimitReached
    | SessionParked
    | SessionWoken
    | Audited
)


class Codec:
    """Changes to bytes and back."""

    _encoder: ClassVar = msgspec.msgpack.Encoder()
    _decoder: ClassVar = msgspec.msgpack.Decoder(list[AnyChange])

    @classmethod
    def encode(cls, changes: list[AnyChange]) -> bytes:
        """One batch as bytes."""
        return cls._encoder.encode(changes)

    @classmethod
    def decode(cls, data: bytes) -> list[AnyChange]:
        """The batch again. Raises `msgspec.ValidationError` where it is none."""
        return cls._decoder.decode(data)
