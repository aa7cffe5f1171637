"""What the ledger tells by itself, over `GET /v1/events`."""

import msgspec

from ambit.ledger.amounts import Resource, Window
from ambit.ledger.wire.vocabulary import Confirmation
from ambit.telemetry.reasons import SessionEnd


class Event(msgspec.Struct, frozen=True, tag_field="event", rename="camel"):
    """One event of `GET /v1/events`, sent once it is journalled."""


class SessionKilled(Event, frozen=True, tag="Killed"):
    """The session was killed, or an account above it removed: cut what it does, at once."""

    path: str
    reason: str


class SessionEnded(Event, frozen=True, tag="Ended"):
    """The session ended by itself: closed by its holder, or abandoned."""

    path: str
    reason: SessionEnd


class LimitsChanged(Event, frozen=True, tag="LimitsChanged"):
    """The limits of an account changed, what it has spent was corrected by hand, or it came or went."""

    path: str


class Recalled(Event, frozen=True, tag="Recalled"):
    """Speculative holds that are wanted back: release those that are not in use, at once."""

    ids: tuple[str, ...]


class LimitWarned(Event, frozen=True, tag="Warned"):
    """What is spent has reached `percent` of a limit, for the first time in its window."""

    path: str
    window: Window
    resource: Resource
    percent: int


class AccountParked(Event, frozen=True, tag="Parked"):
    """A session was parked, because an account above it is exhausted: take its environment away, keep its state."""

    path: str


class AccountWoken(Event, frozen=True, tag="Woken"):
    """A parked session may go on: there is room again."""

    path: str


class KillConfirmed(Event, frozen=True, tag="KillConfirmed"):
    """Nothing of a killed subtree acts any more, `after_ms` after the kill."""

    path: str
    how: Confirmation
    after_ms: int


class Resynchronised(Event, frozen=True, tag="Resynchronised"):
    """Events may have been missed: look at `sessions` again for whatever matters."""


AnyEvent = (
    SessionKilled
    | SessionEnded
    | LimitsChanged
    | Recalled
    | LimitWarned
    | AccountParked
    | AccountWoken
    | KillConfirmed
    | Resynchronised
)
