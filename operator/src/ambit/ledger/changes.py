"""The facts that the journal keeps. The tree is what follows from them, in order, and from nothing else.

They record what happened, not what was asked: a later version with other rules of admission replays the same balances.
Encoded by position; a new field goes last and has a default.
"""

from typing import ClassVar

import msgspec

from ambit.ledger.amounts import Limit, Vector
from ambit.telemetry.reasons import SessionEnd


class Change(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """One fact, and when the ledger's clock says that it became one."""

    at_ms: int


class AccountChanged(Change, frozen=True, tag="account"):
    """A Budget's or Agent's account came, came back, or has other limits or another zone."""

    path: str
    parent: str | None
    limits: tuple[Limit, ...]
    zone: str


class AccountGone(Change, frozen=True, tag="gone"):
    """A Budget's or Agent's account became a tombstone."""

    path: str


class SessionBegun(Change, frozen=True, tag="begun"):
    """A session was opened."""

    path: str
    parent: str
    limits: tuple[Limit, ...]
    attributes: dict[str, str]
    grace_ms: int


class SessionOver(Change, frozen=True, tag="over"):
    """A session ended, for good. `cut`: by another than its holder, who has to be told."""

    path: str
    reason: SessionEnd
    message: str
    cut: bool


class HoldPlaced(Change, frozen=True, tag="placed"):
    """`amount` is held on the session and all above it. `want`, `at_least`, `expires_in_ms` are as asked."""

    component: str
    id: str
    path: str
    amount: Vector
    want: Vector
    at_least: Vector
    expires_in_ms: int


class HoldExtended(Change, frozen=True, tag="extended"):
    """`amount` more is held, and the expiry moved."""

    component: str
    id: str
    sequence: int
    amount: Vector
    want: Vector
    at_least: Vector
    expires_in_ms: int


class HoldSettled(Change, frozen=True, tag="settled"):
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


AnyChange = (
    AccountChanged
    | AccountGone
    | SessionBegun
    | SessionOver
    | HoldPlaced
    | HoldExtended
    | HoldSettled
    | HoldReleased
    | HoldExpired
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
