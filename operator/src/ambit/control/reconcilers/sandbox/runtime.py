"""Runtime is held in slices ahead of its use: what to ask of the ledger, and when the environment has to end.

Pure; all instants are milliseconds of one clock. A hold covers the runtime from `charged_ms` (what earlier holds of the
session, expired while no operator ran, have already paid for) on. Until the container runs, nothing is used: the hold's
expiry is moved and nothing is charged for finding a node or pulling an image.

The kubelet writes `startedAt` and `finishedAt` in whole seconds, rounded down. What ran is therefore taken as their
difference plus one second: never less than the truth.
"""

from dataclasses import dataclass
from hashlib import blake2s
from typing import Final

SLICE_MS: Final = 30_000
AT_LEAST_MS: Final = 1_000
RENEW_WHEN_LEFT_MS: Final = 10_000
"""How much is left of the slice, or of an idle hold's life, when it is renewed."""
STOP_GRACE_S: Final = 1
"""What a container gets between SIGTERM and SIGKILL. Never 0, which forgets a running Pod."""
STOP_MARGIN_MS: Final = 4_000
"""So much before the end of what is held the container is told to stop, so that it has stopped by then: the grace, a
second of rounding (below), and two until a busy node has done it."""
LEAST_STOP_MARGIN_MS: Final = 2_000
"""Of short runtimes: grace and rounding, without the slack for a busy node."""
EXPIRY_SLACK_MS: Final = 5_000
"""A hold outlives its slice by so much, so that a settlement comes before the expiry."""
ASK_AGAIN_MS: Final = 1_000
ROUNDING_MS: Final = 1_000
LONGEST_FIRST_ID: Final = 112
"""The ledger takes ids of 128 characters; the rest is for what a later hold adds."""


@dataclass(frozen=True)
class Hold:
    """The session's open hold at the ledger."""

    id: str
    granted_ms: int
    sequence: int
    """Of the last granted extension."""
    expires_at_ms: int
    charged_ms: int = 0
    """Runtime of the session that is spent already, under earlier holds."""

    @property
    def covers_ms(self) -> int:
        """How much runtime of the session is paid for or held."""
        return self.charged_ms + self.granted_ms


@dataclass(frozen=True)
class Extension:
    """Ask the ledger for more (`want_ms` > 0), or only move the expiry."""

    hold_id: str
    sequence: int
    want_ms: int
    at_least_ms: int
    expires_in_ms: int
    deadline_ms: int
    """An answer later than this is as good as none: the environment has to end."""


@dataclass(frozen=True)
class Outlook:
    """What the hold asks for now."""

    extension: Extension | None
    stop: bool
    """What is held is used up: the environment ends now, reason RuntimeExhausted."""
    look_again_in_ms: int


def outlook(hold: Hold, started_at_ms: int | None, now_ms: int) -> Outlook:
    """What to do about a hold whose container has not ended."""
    if started_at_ms is None:
        lives_ms = hold.expires_at_ms - now_ms
        if lives_ms > RENEW_WHEN_LEFT_MS:
            return Outlook(None, stop=False, look_again_in_ms=lives_ms - RENEW_WHEN_LEFT_MS)
        keep = Extension(hold.id, hold.sequence + 1, 0, 0, SLICE_MS, deadline_ms=max(lives_ms, ASK_AGAIN_MS))
        return Outlook(keep, stop=False, look_again_in_ms=SLICE_MS - RENEW_WHEN_LEFT_MS)

    left_ms = hold.covers_ms - ran_ms(started_at_ms, now_ms)
    margin_ms = stop_margin_ms(hold.covers_ms)
    if left_ms <= margin_ms:
        return Outlook(None, stop=True, look_again_in_ms=ASK_AGAIN_MS)
    until_stop_ms = left_ms - margin_ms
    if left_ms <= RENEW_WHEN_LEFT_MS:
        renew = Extension(
            hold.id,
            hold.sequence + 1,
            want_ms=SLICE_MS,
            at_least_ms=AT_LEAST_MS,
            expires_in_ms=left_ms + SLICE_MS + EXPIRY_SLACK_MS,
            deadline_ms=until_stop_ms,
        )
        return Outlook(renew, stop=False, look_again_in_ms=min(ASK_AGAIN_MS, until_stop_ms))
    until_renewal_ms = left_ms - RENEW_WHEN_LEFT_MS
    if hold.expires_at_ms < now_ms + left_ms:
        # It was made before the container started: its life has to last as long as what it holds.
        outlast = Extension(hold.id, hold.sequence + 1, 0, 0, left_ms + EXPIRY_SLACK_MS, deadline_ms=until_stop_ms)
        return Outlook(outlast, stop=False, look_again_in_ms=until_renewal_ms)
    return Outlook(None, stop=False, look_again_in_ms=until_renewal_ms)


def stop_margin_ms(covers_ms: int) -> int:
    """How long before the end of `covers_ms` of runtime the container is told to stop.

    Below 8 s it is half of the runtime, so that a short bound leaves the program something, but never less than 2 s:
    what is bound to 2 s or less is stopped as soon as it has started.
    """
    return max(min(STOP_MARGIN_MS, covers_ms // 2), LEAST_STOP_MARGIN_MS)


def ran_ms(started_at_ms: int, until_ms: int) -> int:
    """How long a container ran that is still running at `until_ms`: at least zero, whatever the clocks say."""
    return max(until_ms - started_at_ms, 0)


def used_ms(started_at_ms: int | None, finished_at_ms: int | None, now_ms: int) -> int:
    """The runtime of a container that is gone. Without `finished_at_ms` it is taken to have run until now."""
    if started_at_ms is None:
        return 0
    if finished_at_ms is None:
        return ran_ms(started_at_ms, now_ms)
    return max(finished_at_ms - started_at_ms, 0) + ROUNDING_MS


def hold_id(namespace: str, session: str, charged_ms: int) -> str:
    """The id of the hold that goes on after `charged_ms` of the session's runtime are spent.

    `runtime/<namespace>/<session>` for the first, or a hash in place of names that are too long for an id. A later one
    is needed where the first expired while no operator ran.
    """
    first = f"runtime/{namespace}/{session}"
    if len(first) > LONGEST_FIRST_ID:
        first = f"runtime/{blake2s(first.encode()).hexdigest()}"
    return first if charged_ms == 0 else f"{first}/{charged_ms}"
