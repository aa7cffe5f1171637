"""What goes over `POST /v1/ops` and `GET /v1/events`: operations, results, events. Service and client share it.

`{"ops": [{"op": "reserve", …}, …]}` is answered by `{"results": [{"result": "Granted", …}, …]}`, one result each, in
order, journalled before the answer. All times are durations in milliseconds: no instant crosses the wire.
"""

from enum import StrEnum
from typing import Annotated

import msgspec

from ambit.ledger.amounts import Amount, Limit, Resource, Window
from ambit.telemetry.reasons import SessionEnd

MAX_EXPIRY_MS = 24 * 3600 * 1000
"""The longest a hold may live without being extended."""

HoldId = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
AccountPath = Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
"""`<kind>/<namespace>/<name>`, kind one of `budget`, `agent`, `session`."""
ExpiryMs = Annotated[int, msgspec.Meta(ge=1, le=MAX_EXPIRY_MS)]
GraceMs = Annotated[int, msgspec.Meta(ge=1, le=MAX_EXPIRY_MS)]
Sequence = Annotated[int, msgspec.Meta(ge=1)]
Text = Annotated[str, msgspec.Meta(max_length=4096)]


class State(StrEnum):
    """What an account is: `Removed` is a Budget or Agent whose tombstone keeps its spend, `Ended` a session."""

    OPEN = "Open"
    ENDED = "Ended"
    REMOVED = "Removed"


class RefusalReason(StrEnum):
    """Why nothing was held."""

    LIMIT_EXCEEDED = "LimitExceeded"
    SESSION_ENDED = "SessionEnded"
    ACCOUNT_REMOVED = "AccountRemoved"
    HOLD_EXPIRED = "HoldExpired"
    """The hold of this id has expired and was charged. Reserve under another id; a true settle is still taken."""


# -- operations -----------------------------------------------------------


class Operation(
    msgspec.Struct, frozen=True, tag_field="op", rename="camel", omit_defaults=True, forbid_unknown_fields=True
):
    """One operation of a batch. Each is atomic; the batch is not."""


class PutAccount(Operation, frozen=True, tag="putAccount"):
    """Makes a Budget's or Agent's account, or sets its limits and zone; takes up the spend of a removed one.

    The parent of a live account cannot change. The operator's alone.
    """

    path: AccountPath
    limits: tuple[Limit, ...] = ()
    parent: AccountPath | None = None
    time_zone: str = "Etc/UTC"


class RemoveAccount(Operation, frozen=True, tag="removeAccount"):
    """Removes a Budget's or Agent's account: its spend stays, its sessions are killed. The operator's alone."""

    path: AccountPath


class Open(Operation, frozen=True, tag="open"):
    """Opens a session under an Agent or Budget. Limits are Lifetime only.

    It ends by itself, reason `Abandoned`, once it had no open hold for `grace_ms`.
    """

    path: AccountPath
    parent: AccountPath
    grace_ms: GraceMs
    limits: tuple[Limit, ...] = ()
    attributes: dict[str, str] = {}


class Reserve(Operation, frozen=True, tag="reserve"):
    """Holds at least `at_least` and at most `want` on a session and all above it, in one step, or nothing.

    `at_least` says what the act needs to make sense, and is never empty.
    """

    id: HoldId
    path: AccountPath
    want: Amount
    at_least: Amount
    expires_in_ms: ExpiryMs


class Extend(Operation, frozen=True, tag="extend"):
    """Adds to an open hold, and moves its expiry to `expires_in_ms` from now. Amounts may be zero.

    `sequence` rises with each extension of the hold; a refused one may be tried again under the same number.
    """

    id: HoldId
    sequence: Sequence
    expires_in_ms: ExpiryMs
    want: Amount = Amount()
    at_least: Amount = Amount()


class Settle(Operation, frozen=True, tag="settle"):
    """Replaces a hold by what was used, once. What is used above the hold is recorded as an overrun."""

    id: HoldId
    used: Amount


class Release(Operation, frozen=True, tag="release"):
    """Drops a hold, only where the act provably did not happen."""

    id: HoldId
    reason: Text


class Close(Operation, frozen=True, tag="close"):
    """Ends a session. Its open holds stay until they are settled or expire."""

    path: AccountPath
    reason: SessionEnd
    message: Text = ""


class Kill(Operation, frozen=True, tag="kill"):
    """Ends a session, or every session under an Agent or Budget, with reason `Killed`."""

    path: AccountPath
    reason: Text
    by: Text


class GetUsage(Operation, frozen=True, tag="usage"):
    """Asks for one account."""

    path: AccountPath


class ListSessions(Operation, frozen=True, tag="sessions"):
    """Asks for sessions: all under an account (`under` a path), or of a namespace (`under` its bare name)."""

    under: AccountPath
    state: State | None = None


AnyOperation = (
    PutAccount | RemoveAccount | Open | Reserve | Extend | Settle | Release | Close | Kill | GetUsage | ListSessions
)

# -- results ----------------------------------------------------------------


class Result(msgspec.Struct, frozen=True, tag_field="result", rename="camel", omit_defaults=True):
    """The answer to one operation. Unknown fields are ignored: a newer ledger may say more."""


class AccountPut(Result, frozen=True):
    """The account is as asked for."""


class AccountRemoved(Result, frozen=True):
    """The account is removed, or was."""


class Opened(Result, frozen=True):
    """The session is open. `already`: it was before this operation (a resent one, too), with these attributes."""

    already: bool
    attributes: dict[str, str]


class Granted(Result, frozen=True):
    """Held: `amount`, of an extension the increment alone. It may be less than was wanted: do no more."""

    amount: Amount


class Denial(Result, frozen=True):
    """What stands in the way: `account`'s `limit` of `resource` in `window`, in the unit of the resource.

    `resets_in_ms` is None where the window never ends. Where the reason is not a limit, only `account` is set, and
    `ended` with a session's ending.
    """

    reason: RefusalReason
    account: str
    message: str
    window: Window | None = None
    resource: Resource | None = None
    limit: int = 0
    spent: int = 0
    held: int = 0
    requested: int = 0
    resets_in_ms: int | None = None
    ended: SessionEnd | None = None


class Refused(Denial, frozen=True):
    """Final: what is spent leaves no room, or the session or account is gone. Nothing is held."""


class Wait(Denial, frozen=True):
    """Room is only held by others, or a Minute window is full. Nothing is held: ask again, with the same id."""


class Settled(Result, frozen=True):
    """Charged what was used. `overrun`: how much of it was more than the hold."""

    overrun: Amount = Amount()


class AlreadySettled(Result, frozen=True):
    """The hold was settled or released before; nothing changed."""


class Released(Result, frozen=True):
    """The hold is dropped; nothing is charged."""


class LimitUsage(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One limit and what stands against it in the present window."""

    window: Window
    resource: Resource
    limit: int
    spent: int
    held: int
    resets_in_ms: int | None = None


class HoldView(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """An open hold. `sequence` is that of its last granted extension, 0 before the first."""

    id: str
    component: str
    amount: Amount
    expires_in_ms: int
    sequence: int = 0


class Usage(Result, frozen=True):
    """One account. `spent` and `held` are of its lifetime; `overrun` is the part of `spent` that no hold covered.

    `attributes`, `holds`, and the `closed_…` fields are a session's. `age_ms` counts from its opening, `closed_age_ms`
    from its end.
    """

    path: str
    state: State
    parent: str | None = None
    attributes: dict[str, str] = {}
    limits: tuple[LimitUsage, ...] = ()
    spent: Amount = Amount()
    held: Amount = Amount()
    overrun: Amount = Amount()
    holds: tuple[HoldView, ...] = ()
    age_ms: int = 0
    closed_reason: SessionEnd | None = None
    closed_message: str = ""
    closed_age_ms: int | None = None


class SessionClosed(Result, frozen=True):
    """The session has ended, now or before (the first reason stays)."""

    usage: Usage


class Killed(Result, frozen=True):
    """The sessions this kill ended, and those ended before under `path` that still have an open hold."""

    sessions: tuple[str, ...]


class Sessions(Result, frozen=True):
    """The sessions asked for, in the order of their opening."""

    sessions: tuple[Usage, ...]


class Invalid(Result, frozen=True):
    """The operation makes no sense; `message` says what to write instead."""

    message: str


class UnknownAccount(Result, frozen=True):
    """There is no such account, yet or any more."""

    path: str


class UnknownHold(Result, frozen=True):
    """There is no hold of this id, or none that is remembered."""

    id: str


class IdReused(Result, frozen=True):
    """The id stands for another operation, or for a hold that was settled."""

    id: str


class Forbidden(Result, frozen=True):
    """The component may not do this."""

    message: str


ErrorResult = Invalid | UnknownAccount | UnknownHold | IdReused | Forbidden
AnyResult = (
    AccountPut
    | AccountRemoved
    | Opened
    | Granted
    | Refused
    | Wait
    | Settled
    | AlreadySettled
    | Released
    | SessionClosed
    | Killed
    | Usage
    | Sessions
    | ErrorResult
)

# -- events -------------------------------------------------------------------


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
    """The limits of an account changed, or it came or went."""

    path: str


class Resynchronised(Event, frozen=True, tag="Resynchronised"):
    """Events may have been missed: look at `sessions` again for whatever matters."""


AnyEvent = SessionKilled | SessionEnded | LimitsChanged | Resynchronised

# -- envelopes ------------------------------------------------------------------


class Batch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /v1/ops`; each operation is decoded apart, so that one bad one spoils no other."""

    ops: list[msgspec.Raw]


class Operations(msgspec.Struct, frozen=True):
    """The same body as a client writes it."""

    ops: list[AnyOperation]


class Results(msgspec.Struct, frozen=True):
    """The answer to a batch, one result each, in order."""

    results: list[AnyResult]
