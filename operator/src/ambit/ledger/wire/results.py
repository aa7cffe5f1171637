"""What the ledger answers."""

import msgspec

from ambit.ledger.amounts import Amount, Resource, Window
from ambit.ledger.wire.vocabulary import Confirmation, Enforcement, HoldPolicy, RefusalReason, State
from ambit.telemetry.reasons import SessionEnd


class Result(msgspec.Struct, frozen=True, tag_field="result", rename="camel", omit_defaults=True):
    """The answer to one operation. Unknown fields are ignored: a newer ledger may say more."""


class AccountPut(Result, frozen=True):
    """The account is as asked for."""


class AccountRemoved(Result, frozen=True):
    """The account is removed, or was."""


class Opened(Result, frozen=True):
    """The session is open. `already`: it was before this operation (a resent one, too), with these attributes.

    `holds`: `Full` where an account above asks for it. `shadow`: what accounts in Shadow would have refused.
    """

    already: bool
    attributes: dict[str, str]
    holds: HoldPolicy = HoldPolicy.PROGRESSIVE
    shadow: "tuple[Denial, ...]" = ()


class Warned(msgspec.Struct, frozen=True, rename="camel"):
    """What is spent has reached `percent` of a limit. Said once in each window."""

    account: str
    window: Window
    resource: Resource
    percent: int


class Denial(Result, frozen=True):
    """What stands in the way: `account`'s `limit` of `resource` in `window`, in the unit of the resource.

    `resets_in_ms` is None where the window never ends. Where the reason is not a limit, only `account` is set, and
    `ended` with a session's ending. Of `ConcurrencyLimit`, `limit` and `held` count sessions.
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
    """Room is only held by others, or a Minute window is full. Nothing is held: ask again later.

    Under the next sequence, where the id has one; under the same id, where it is named.
    """


class Granted(Result, frozen=True):
    """Held: `amount`, of an extension the increment alone. It may be less than was wanted: do no more.

    `shadow` is what accounts in Shadow would have refused.
    """

    amount: Amount
    warnings: tuple[Warned, ...] = ()
    shadow: tuple[Denial, ...] = ()


class Settled(Result, frozen=True):
    """Charged what was used. `overrun`: how much of it was more than the hold."""

    overrun: Amount = Amount()
    warnings: tuple[Warned, ...] = ()


class AlreadySettled(Result, frozen=True):
    """The hold was settled or released before; nothing changed."""


class Released(Result, frozen=True):
    """The hold is dropped; nothing is charged."""


class RefusalsCounted(Result, frozen=True):
    """They are in the count of the running minute."""


class LimitUsage(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One limit and what stands against it in the present window."""

    window: Window
    resource: Resource
    limit: int
    spent: int
    held: int
    resets_in_ms: int | None = None
    began_ms_ago: int | None = None
    """How long the window has run. Both None: it never ends."""
    refused_from: int = 0
    """Of a Budget: the least that it refused for good in this window, and has no room for now. 0: nothing is known."""


class HoldView(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """An open hold. `sequence` is that of its last granted extension, 0 before the first."""

    id: str
    component: str
    amount: Amount
    expires_in_ms: int
    sequence: int = 0
    speculative: bool = False


class Usage(Result, frozen=True):
    """One account. `spent` and `held` are of its lifetime; `overrun` is the part of `spent` that no hold covered.

    `attributes`, `holds`, `user`, `labels` and the `closed_…` fields are a session's. `age_ms` counts from its opening,
    `closed_age_ms` from its end. `sessions` is the gauge that `concurrent_sessions` bounds.
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
    user: str = ""
    labels: dict[str, str] = {}
    agent: str | None = None
    sessions: int = 0
    concurrent_sessions: int | None = None
    enforcement: Enforcement = Enforcement.ENFORCE
    parked: bool = False


class SessionClosed(Result, frozen=True):
    """The session has ended, now or before (the first reason stays)."""

    usage: Usage


class Killed(Result, frozen=True):
    """The sessions this kill ended, and those ended before under `path` that still have an open hold: 1,000 at most.

    Of a large subtree, the ledger ends some hundreds at a time; nothing new is held for any of them at once.

    `confirmed`: None while something of the subtree may still act.
    """

    sessions: tuple[str, ...]
    confirmed: Confirmation | None = None


class Sessions(Result, frozen=True):
    """The sessions asked for, in the order of their opening. `next`: there may be more, after that."""

    sessions: tuple[Usage, ...]
    next: str | None = None


class WindowSpent(msgspec.Struct, frozen=True, rename="camel"):
    """What was spent in a window that ended. Instants are in milliseconds since the epoch: history, not durations."""

    window: Window
    start_ms: int
    end_ms: int
    spent: Amount


class History(Result, frozen=True):
    """What an account spent in the windows that ended, oldest first."""

    windows: tuple[WindowSpent, ...]


class Adjusted(Result, frozen=True):
    """What is spent is corrected."""


class ClockAccepted(Result, frozen=True):
    """Time goes by the clock again."""


class Resumed(Result, frozen=True):
    """The ledger answers again."""


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


class OtherTree(Result, frozen=True):
    """The account at `path` is counted in another tree than was asked for; the message says what to do."""

    path: str
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
    | RefusalsCounted
    | Released
    | SessionClosed
    | Killed
    | Usage
    | Sessions
    | History
    | Adjusted
    | ClockAccepted
    | Resumed
    | OtherTree
    | ErrorResult
)
