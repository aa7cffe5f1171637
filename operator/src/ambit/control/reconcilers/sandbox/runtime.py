"""A container's runtime: what to ask of the ledger (the rule is `ambit.policy.runtime_slices`), and what to charge.

Pure; all instants are milliseconds of one clock. A hold covers the runtime from `charged_ms` (what earlier holds of the
session, expired while no operator ran, have already paid for) on. Until the container runs, nothing is used: the hold's
expiry is moved and nothing is charged for finding a node or pulling an image.

The kubelet writes `startedAt` and `finishedAt` in whole seconds, rounded down. What ran is therefore taken as their
difference plus one second: never less than the truth.
"""

from dataclasses import dataclass
from typing import Final

from ambit.policy.runtime_slices import (
    ASK_AGAIN_MS,
    AT_LEAST_MS,
    RENEW_WHEN_LEFT_MS,
    SLICE_MS,
    Standing,
    container_margin_ms,
)

STOP_GRACE_S: Final = 1
"""What a container gets between SIGTERM and SIGKILL. Never 0, which forgets a running Pod."""
ROUNDING_MS: Final = 1_000


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

    standing = Standing(hold.covers_ms, ran_ms(started_at_ms, now_ms), container_margin_ms(hold.covers_ms))
    told_in_ms, renewal_in_ms = standing.told_in_ms, standing.renewal_in_ms
    if told_in_ms == 0:
        return Outlook(None, stop=True, look_again_in_ms=ASK_AGAIN_MS)
    if renewal_in_ms == 0:
        renew = Extension(
            hold.id,
            hold.sequence + 1,
            want_ms=SLICE_MS,
            at_least_ms=AT_LEAST_MS,
            expires_in_ms=standing.renewed_lives_ms,
            deadline_ms=told_in_ms,
        )
        return Outlook(renew, stop=False, look_again_in_ms=min(ASK_AGAIN_MS, told_in_ms))
    if hold.expires_at_ms < now_ms + standing.left_ms:
        # It was made before the container started: its life has to last as long as what it holds.
        outlast = Extension(hold.id, hold.sequence + 1, 0, 0, standing.lives_ms, deadline_ms=told_in_ms)
        return Outlook(outlast, stop=False, look_again_in_ms=renewal_in_ms)
    return Outlook(None, stop=False, look_again_in_ms=renewal_in_ms)


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
