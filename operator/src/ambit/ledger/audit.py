"""The audit: what people and faults did to bounds, as a chain in which every record seals all before it.

A record's hash is over the hash before it and over everything that the record says. The head of the chain (how many
records there are, and the last one's hash) is part of the tree: by it, a record that was changed, removed, inserted,
moved, or cut off at the end is found. Pure: `seal` makes records, `verify` checks them; the journal keeps them.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import msgspec

from ambit.ledger.amounts import Amount, Limit, Resource, Window
from ambit.ledger.records import Record, RecordKind
from ambit.ledger.wire import Enforcement, HoldPolicy, RefusalReason, WhenExhausted

NO_HASH = "0" * 64
"""What the first record names as the hash before it."""


class Entry(
    msgspec.Struct, frozen=True, tag_field="event", rename="camel", omit_defaults=True, forbid_unknown_fields=True
):
    """What one record says happened to the account at its path."""


class AuditedKill(Entry, frozen=True, tag="Kill"):
    """Somebody killed it and the sessions under it."""

    reason: str
    by: str
    sessions: int
    """How many this ended."""


class AuditedOverrun(Entry, frozen=True, tag="Overrun"):
    """A session used more than was held for it: `amount` of it without cover."""

    component: str
    hold: str
    amount: Amount


class AuditedLoss(Entry, frozen=True, tag="Loss"):
    """Nobody settled a hold of a session in time, and all of it was charged."""

    component: str
    hold: str
    amount: Amount


class AuditedCorrection(Entry, frozen=True, tag="Correction"):
    """What a lost hold had truly used came to be known, and is charged instead."""

    component: str
    hold: str
    used: Amount


class AuditedLimits(Entry, frozen=True, tag="Limits"):
    """It came, came back, or allows something else than before: this, from now on."""

    limits: tuple[Limit, ...]
    time_zone: str
    concurrent_sessions: int | None = None
    enforcement: Enforcement = Enforcement.ENFORCE
    when_exhausted: WhenExhausted = WhenExhausted.DENY
    user_limits: tuple[Limit, ...] | None = None
    parent: str | None = None
    warn_at: tuple[int, ...] = ()
    holds: HoldPolicy = HoldPolicy.PROGRESSIVE
    generation: int = 0
    """The generation of the Budget or Agent that it was asked for by; 0: it was not said."""


class AuditedRemoval(Entry, frozen=True, tag="Removal"):
    """It was removed; what it has spent stays."""


class AuditedTopUp(Entry, frozen=True, tag="TopUp"):
    """Its limit was raised in one window, by one of `spec.topUps`."""

    id: str
    window: Window
    resource: Resource
    amount: int


class AuditedAdjustment(Entry, frozen=True, tag="Adjustment"):
    """Somebody corrected what it and all above it have spent, by a signed amount in the unit of the resource."""

    resource: Resource
    amount: int
    reason: str
    by: str


class AuditedClock(Entry, frozen=True, tag="ClockAccepted"):
    """Somebody said that a clock which jumped forward is right."""

    reason: str
    by: str


class AuditedRestore(Entry, frozen=True, tag="Restore"):
    """The ledger came back from a backup; somebody told it what the account spent since, or to forget it (None)."""

    spent: Amount | None
    reason: str
    by: str


class AuditedRefusal(Entry, frozen=True, tag="Refusal"):
    """A bound of it refused something to a session, for the first time in a minute at least.

    `shadow`: it would have, if it were enforced.
    """

    reason: RefusalReason
    session: str
    window: Window
    resource: Resource
    limit: int
    spent: int
    held: int
    requested: int
    shadow: bool = False


class AuditedRefusals(Entry, frozen=True, tag="Refusals"):
    """That bound refused `count` more within `within_ms` after."""

    reason: RefusalReason
    window: Window
    resource: Resource
    count: int
    within_ms: int
    shadow: bool = False


AnyEntry = (
    AuditedKill
    | AuditedOverrun
    | AuditedLoss
    | AuditedCorrection
    | AuditedLimits
    | AuditedRemoval
    | AuditedTopUp
    | AuditedAdjustment
    | AuditedClock
    | AuditedRestore
    | AuditedRefusal
    | AuditedRefusals
)


class Head(msgspec.Struct, frozen=True, array_like=True):
    """Where a chain ends: how many records it has, and the last one's hash in hexadecimal."""

    sequence: int = 0
    hash: str = NO_HASH

    def __str__(self) -> str:
        return f"{self.sequence}:{self.hash}"

    @classmethod
    def parse(cls, text: str) -> "Head":
        """The head written as `<sequence>:<hash>`. Raises ValueError."""
        sequence, _, digest = text.partition(":")
        if not sequence.isdecimal() or len(digest) != len(NO_HASH) or not set(digest) <= set("0123456789abcdef"):
            raise ValueError(f"{text!r} is no head of an audit chain: write <sequence>:<64 hexadecimal digits>")
        return cls(int(sequence), digest)


class _Sealed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a record. The entry is kept as it was written: a later version's is sealed and verified as well."""

    sequence: int
    hash: str
    entry: msgspec.Raw


class _Line(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A record as a line of an export. `at` is for people; `at_ms` is what is sealed."""

    sequence: int
    at: str
    at_ms: int
    path: str
    entry: msgspec.Raw
    hash: Annotated[str, msgspec.Meta(min_length=64, max_length=64)]


def seal(head: Head, at_ms: int, path: str, entry: AnyEntry) -> tuple[Head, Record]:
    """The next record of the chain that ends at `head`, and where the chain ends then."""
    body = msgspec.json.encode(entry)
    sequence = head.sequence + 1
    digest = _digest(head.hash, sequence, at_ms, path, body)
    sealed = msgspec.json.encode(_Sealed(sequence, digest, msgspec.Raw(body)))
    return Head(sequence, digest), Record(RecordKind.AUDIT, at_ms, path, sealed)


def entry_of(record: Record) -> AnyEntry:
    """What a record says. Raises `msgspec.ValidationError` where a later version wrote what this one does not know."""
    return msgspec.json.decode(msgspec.json.decode(record.body, type=_Sealed).entry, type=AnyEntry)


@dataclass(frozen=True, slots=True)
class Tampering:
    """What is wrong with a chain, and the first place where it is."""

    sequence: int
    what: str


@dataclass(frozen=True, slots=True)
class Verified:
    """A chain that is whole up to `head`. `newer` records follow, which the head does not know yet."""

    head: Head
    newer: int


def verify(records: Iterable[Record], head: Head) -> Verified | Tampering:
    """Whether `records` are what was sealed, all of it up to `head`, in order.

    Records beyond `head` are taken to have come after it was read; they must continue the chain, but nothing says how
    many there are: read the head of a ledger that is stopped, or again, to have them covered.
    """
    reached = Head()
    met = head == reached
    for record in records:
        try:
            sealed = msgspec.json.decode(record.body, type=_Sealed)
        except msgspec.MsgspecError as error:
            return Tampering(reached.sequence + 1, f"cannot be read: {error}")
        expected = reached.sequence + 1
        if sealed.sequence > expected:
            return Tampering(expected, f"missing: the next one that is there is {sealed.sequence}")
        if sealed.sequence < expected:
            return Tampering(sealed.sequence, f"stands a second time, after {reached.sequence}: inserted or moved")
        digest = _digest(reached.hash, expected, record.at_ms, record.path, bytes(sealed.entry))
        if digest != sealed.hash:
            return Tampering(expected, "does not say what was sealed: changed, or put in another's place")
        reached = Head(expected, digest)
        if expected == head.sequence:
            if reached != head:
                return Tampering(expected, "is not the one at the ledger's head: the chain was written anew")
            met = True
    if not met:
        return Tampering(reached.sequence + 1, f"missing, and all after it: the ledger's head is {head.sequence}")
    return Verified(head, reached.sequence - head.sequence)


def to_lines(records: Iterable[Record]) -> Iterator[bytes]:
    """The records as JSON lines, oldest first, which `from_lines` takes back."""
    for record in records:
        sealed = msgspec.json.decode(record.body, type=_Sealed)
        at = datetime.fromtimestamp(record.at_ms / 1000, UTC).isoformat(timespec="milliseconds")
        line = _Line(sealed.sequence, at, record.at_ms, record.path, sealed.entry, sealed.hash)
        yield msgspec.json.encode(line) + b"\n"


def from_lines(lines: Iterable[bytes]) -> Iterator[Record]:
    """The records of an export, to be verified elsewhere. Raises `msgspec.ValidationError`."""
    for line in lines:
        found = msgspec.json.decode(line, type=_Line)
        body = msgspec.json.encode(_Sealed(found.sequence, found.hash, found.entry))
        yield Record(RecordKind.AUDIT, found.at_ms, found.path, body)


def _digest(previous: str, sequence: int, at_ms: int, path: str, entry: bytes) -> str:
    sealed = msgspec.json.encode((previous, sequence, at_ms, path, msgspec.Raw(entry)))
    return hashlib.sha256(sealed).hexdigest()
