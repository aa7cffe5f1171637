"""Words that operations, results and events share."""

from enum import StrEnum
from typing import Annotated

import msgspec

from ambit.ledger.amounts import Count, Resource, Window

MAX_EXPIRY_MS = 24 * 3600 * 1000
"""The longest a hold may live without being extended."""
MAX_LABELS = 5
MAX_PAGE = 250
"""How many sessions a page of them has at the most: the writer answers nobody else meanwhile."""
MAX_NAMED = 1000
"""How many sessions the answer to a kill names at most."""

HoldId = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
"""`<holder>#<sequence>`, or a name of the holder's own without `#`."""
AccountPath = Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
"""`<kind>/<namespace>/<name>`, kind `budget`, `agent` or `session`; a user's is `user/<namespace>/<agent>/<user>`."""
ExpiryMs = Annotated[int, msgspec.Meta(ge=1, le=MAX_EXPIRY_MS)]
GraceMs = Annotated[int, msgspec.Meta(ge=1, le=MAX_EXPIRY_MS)]
Sequence = Annotated[int, msgspec.Meta(ge=1, lt=10**15)]
"""As long as in an id. What the journal cannot write would end the ledger."""
Text = Annotated[str, msgspec.Meta(max_length=4096)]
Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
"""Why a person did something, for the audit: never empty."""
Percent = Annotated[int, msgspec.Meta(ge=1, le=100)]
Label = Annotated[str, msgspec.Meta(min_length=1, max_length=63)]
User = Annotated[str, msgspec.Meta(max_length=253)]
Labels = Annotated[dict[Label, Label], msgspec.Meta(max_length=MAX_LABELS)]
SessionCount = Annotated[int, msgspec.Meta(ge=0, le=10**9)]


class State(StrEnum):
    """What an account is: `Removed` is a Budget or Agent whose tombstone keeps its spend, `Ended` a session."""

    OPEN = "Open"
    ENDED = "Ended"
    REMOVED = "Removed"


class Enforcement(StrEnum):
    """What an account's limits do."""

    ENFORCE = "Enforce"
    SHADOW = "Shadow"
    """They refuse nothing, and say what they would have refused."""


class WhenExhausted(StrEnum):
    """What becomes of the sessions of an account that has no room left for the smallest useful call."""

    DENY = "Deny"
    PARK = "Park"
    TERMINATE = "Terminate"


class HoldPolicy(StrEnum):
    """How calls under an account are held."""

    PROGRESSIVE = "Progressive"
    """A stream may hold a part, and extend it ahead of its meter."""
    FULL = "Full"
    """Everything that a call may use is held before it is sent; only time is extended."""


class Confirmation(StrEnum):
    """How it is known that nothing of a killed subtree acts any more."""

    OBSERVED = "Observed"
    """Its holders settled or released all that they held."""
    PRESUMED = "Presumed"
    """A holder kept silent until all that it held had expired."""


class TopUp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """So much more of a resource in the window that runs when it is first seen. Applied once by `id`."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
    window: Window
    resource: Resource
    amount: Count


class RefusalReason(StrEnum):
    """Why nothing was held."""

    LIMIT_EXCEEDED = "LimitExceeded"
    CONCURRENCY_LIMIT = "ConcurrencyLimit"
    """As many sessions are open as may be."""
    SESSION_ENDED = "SessionEnded"
    ACCOUNT_REMOVED = "AccountRemoved"
    HOLD_EXPIRED = "HoldExpired"
    """The hold of this id has expired and was charged. Reserve under another id; a true settle is still taken."""
    PARKED = "Parked"
    """The account is exhausted and parks its sessions until it has room again."""
    TERMINATED = "Terminated"
    """The account is exhausted and ends its sessions."""
    RESTORE_PENDING = "RestorePending"
    """The ledger was restored from a backup, and has to be told what was spent since, or to forget it."""
    STORAGE_FULL = "StorageFull"
    """The ledger's disk has room left only for what ends holds. No bound is in the way: ask again later."""
