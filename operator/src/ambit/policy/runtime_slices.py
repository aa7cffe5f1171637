"""Runtime is held in slices ahead of its use (docs/design/0001-interfaces.md, "Runtime"): how long a slice is, when the
next is asked for, and when the environment is told to end so that it has ended by the time that what is held is over.

Pure; milliseconds throughout. Who holds carries it out: the gateway for isolates, the operator for containers.
"""

from dataclasses import dataclass
from hashlib import blake2s
from typing import Final

SLICE_MS: Final = 30_000
AT_LEAST_MS: Final = 1_000
"""A smaller slice is of no use to anybody."""
RENEW_WHEN_LEFT_MS: Final = 10_000
"""How much is left of the slice, or of an idle hold's life, when it is renewed."""
EXPIRY_SLACK_MS: Final = 5_000
"""A hold outlives its slice by so much, so that a settlement comes before the expiry."""
ASK_AGAIN_MS: Final = 1_000
"""How long to rest after the ledger had no room, or did not answer."""
LONGEST_FIRST_ID: Final = 112
"""The ledger takes ids of 128 characters; the rest is for what a later hold adds."""

ISOLATE_MARGIN_MS: Final = 500
"""So much before the end of what is held an isolate is aborted, so that its host has confirmed its end by then."""
ISOLATE_MARGIN_PART: Final = 5
"""At most one part in so many of what is held, so that short sessions keep most of their runtime."""
CONTAINER_MARGIN_MS: Final = 4_000
"""So much before it a container is told to stop: 1 s between SIGTERM and SIGKILL, 1 s by which the kubelet rounds the
instants that it writes, and 2 s until a busy node has done it."""
LEAST_CONTAINER_MARGIN_MS: Final = 2_000
"""Of short runtimes: without the slack for a busy node."""


@dataclass(frozen=True)
class Standing:
    """How a session stands that runs: what it may use in all, what it has used, and how long before its end is early
    enough to tell the environment."""

    covers_ms: int
    """Paid for or held, counted from the environment's start."""
    used_ms: int
    margin_ms: int

    @property
    def left_ms(self) -> int:
        """Of what is held; less than nothing where the end was missed."""
        return self.covers_ms - self.used_ms

    @property
    def told_in_ms(self) -> int:
        """When the environment is told to end unless more is granted; 0: now."""
        return max(self.left_ms - self.margin_ms, 0)

    @property
    def renewal_in_ms(self) -> int:
        """When to ask for the next slice; 0: now."""
        return max(self.left_ms - RENEW_WHEN_LEFT_MS, 0)

    @property
    def lives_ms(self) -> int:
        """How long the hold has to live for what is held now."""
        return self.left_ms + EXPIRY_SLACK_MS

    @property
    def renewed_lives_ms(self) -> int:
        """How long it has to live with the next slice."""
        return self.lives_ms + SLICE_MS


def isolate_margin_ms(covers_ms: int) -> int:
    """How long its host has to confirm an isolate's end before `covers_ms` of runtime are over."""
    return min(ISOLATE_MARGIN_MS, covers_ms // ISOLATE_MARGIN_PART)


def container_margin_ms(covers_ms: int) -> int:
    """How long before the end of `covers_ms` of runtime a container is told to stop.

    Below 8 s it is half of the runtime, so that a short bound leaves the program something, but never less than 2 s:
    what is bound to 2 s or less is stopped as soon as it has started.
    """
    return max(min(CONTAINER_MARGIN_MS, covers_ms // 2), LEAST_CONTAINER_MARGIN_MS)


def hold_id(namespace: str, session: str, charged_ms: int = 0) -> str:
    """The id of the hold that goes on after `charged_ms` of the session's runtime are spent.

    `runtime/<namespace>/<session>` for the first, so that a holder that was restarted goes on with the same hold, or a
    hash in place of names that are too long for an id. A later one is needed where the first expired while no operator
    ran.
    """
    first = f"runtime/{namespace}/{session}"
    if len(first) > LONGEST_FIRST_ID:
        first = f"runtime/{blake2s(first.encode()).hexdigest()}"
    return first if charged_ms == 0 else f"{first}/{charged_ms}"
