"""What may be asked of the ledger."""

from typing import Annotated

import msgspec

from ambit.ledger.amounts import MAX_AMOUNT, Amount, Count, Limit, Resource, Window
from ambit.ledger.wire.vocabulary import (
    MAX_PAGE,
    AccountPath,
    Enforcement,
    ExpiryMs,
    GraceMs,
    HoldId,
    HoldPolicy,
    Labels,
    Percent,
    Reason,
    Sequence,
    SessionCount,
    State,
    Text,
    TopUp,
    User,
    WhenExhausted,
)
from ambit.telemetry.reasons import SessionEnd


class Operation(
    msgspec.Struct, frozen=True, tag_field="op", rename="camel", omit_defaults=True, forbid_unknown_fields=True
):
    """One operation of a batch. Each is atomic; the batch is not."""


class PutAccount(Operation, frozen=True, tag="putAccount"):
    """Makes a Budget's or Agent's account, or sets what it allows; takes up the spend of a removed one.

    The parent of a live account cannot change. The operator's alone.
    """

    path: AccountPath
    limits: tuple[Limit, ...] = ()
    parent: AccountPath | None = None
    time_zone: str = "Etc/UTC"
    concurrent_sessions: SessionCount | None = None
    enforcement: Enforcement = Enforcement.ENFORCE
    warn_at: tuple[Percent, ...] = ()
    top_ups: tuple[TopUp, ...] = ()
    when_exhausted: WhenExhausted = WhenExhausted.DENY
    holds: HoldPolicy = HoldPolicy.PROGRESSIVE
    user_limits: tuple[Limit, ...] | None = None
    """Of an Agent: each user's sessions get an account of their own between the Agent and them, with these limits."""
    generation: Count = 0
    """The generation of the Budget or Agent that says so, for the audit alone; 0: none is named."""


class RemoveAccount(Operation, frozen=True, tag="removeAccount"):
    """Removes a Budget's or Agent's account: its spend stays, its sessions are killed. The operator's alone."""

    path: AccountPath


class Open(Operation, frozen=True, tag="open"):
    """Opens a session under an Agent, a Budget or another session. Limits are Lifetime only.

    It ends by itself, reason `Abandoned`, once it and all under it had no open hold for `grace_ms`.
    """

    path: AccountPath
    parent: AccountPath
    grace_ms: GraceMs
    limits: tuple[Limit, ...] = ()
    attributes: dict[str, str] = {}
    user: User = ""
    labels: Labels = {}
    agent: AccountPath | None = None
    """Of a sub-session: the Agent whose sessions it is one of. What it uses is charged on its parent's path alone."""


class Reserve(Operation, frozen=True, tag="reserve"):
    """Holds at least `at_least` and at most `want` on a session and all above it, in one step, or nothing.

    `at_least` says what the act needs to make sense, and is never empty. `speculative`: for an act that may come; the
    ledger may take such a hold back (event `Recalled`) until it is extended.
    """

    id: HoldId
    path: AccountPath
    want: Amount
    at_least: Amount
    expires_in_ms: ExpiryMs
    speculative: bool = False


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
    """Ends a session and those under it. Open holds stay until they are settled or expire."""

    path: AccountPath
    reason: SessionEnd
    message: Text = ""


class Kill(Operation, frozen=True, tag="kill"):
    """Ends a session, or every session under an account, with reason `Killed`. Asked again, says how far it is."""

    path: AccountPath
    reason: Text
    by: Text


class GetUsage(Operation, frozen=True, tag="usage"):
    """Asks for one account."""

    path: AccountPath


class ListSessions(Operation, frozen=True, tag="sessions"):
    """Asks for sessions: those under an account (`under` a path), or of a namespace (`under` its bare name).

    `at_most`: a page of so many; the next one comes after what its answer names as `next`. None: all at once, for which
    everybody else waits: as the release before asks.
    """

    under: AccountPath
    state: State | None = None
    at_most: Annotated[int, msgspec.Meta(ge=1, le=MAX_PAGE)] | None = None
    after: Annotated[str, msgspec.Meta(max_length=600)] | None = None


class GetHistory(Operation, frozen=True, tag="history"):
    """Asks what an account spent in the windows that ended."""

    path: AccountPath
    window: Window | None = None


class Adjust(Operation, frozen=True, tag="adjust"):
    """Corrects what an account and all above it have spent, by a signed amount. Audited. The operator's alone."""

    path: AccountPath
    resource: Resource
    amount: Annotated[int, msgspec.Meta(ge=-MAX_AMOUNT, le=MAX_AMOUNT)]
    reason: Reason
    by: Reason


class AcceptClock(Operation, frozen=True, tag="acceptClock"):
    """Says that a clock which jumped forward is right. Audited. The operator's alone."""

    reason: Reason
    by: Reason


class SpentSince(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a session, or another account, spent after a backup was made."""

    path: AccountPath
    amount: Amount


class Resume(Operation, frozen=True, tag="resume"):
    """Ends the refusal of everything after a restore: tells what was spent since, or to forget it. Audited.

    The operator's alone.
    """

    reason: Reason
    by: Reason
    spent: tuple[SpentSince, ...] = ()
    forget: bool = False


class CountRefusals(Operation, frozen=True, tag="countRefusals"):
    """Tells of refusals that a holder gave in the ledger's place, by what the ledger had refused a moment before.

    For the audit's counts alone: nothing is held, and nothing depends on them.
    """

    account: AccountPath
    window: Window
    resource: Resource
    count: Annotated[int, msgspec.Meta(ge=1, le=10**9)]


AnyOperation = (
    PutAccount
    | RemoveAccount
    | Open
    | Reserve
    | Extend
    | Settle
    | Release
    | Close
    | Kill
    | GetUsage
    | ListSessions
    | GetHistory
    | Adjust
    | AcceptClock
    | Resume
    | CountRefusals
)
