"""What the ledger's and the policy's answers mean for a client: status, reason, and whether to try again."""

from datetime import UTC, datetime, timedelta
from typing import Final

from ambit.api.quantities import format_duration_ms, format_usd_nanos
from ambit.gateway.models.wire_format import BoundDetails, RefusedCall
from ambit.ledger.amounts import Resource, Window
from ambit.ledger.wire import Denial, RefusalReason, Refused, Wait
from ambit.policy import Problem
from ambit.telemetry.reasons import Denial as Unusable
from ambit.telemetry.reasons import Refusal

LONGEST_RETRY_AFTER_S: Final = 30
"""A longer one makes clients sleep in silence."""
AWAY_RETRY_AFTER_S: Final = 5
ROOM_RETRY_AFTER_S: Final = 5
"""Calls end all the time, and whoever asks again waits in the queue again."""


def refused(denial: Refused, now: datetime) -> RefusedCall:
    """402: what is spent leaves no room; or the session, or an account above it, has ended. 503: nothing is admitted
    at all for now.
    """
    match denial.reason:
        case RefusalReason.SESSION_ENDED | RefusalReason.ACCOUNT_REMOVED:
            return session_ended(denial.account, denial.ended.value if denial.ended else denial.reason.value)
        case RefusalReason.LIMIT_EXCEEDED | RefusalReason.HOLD_EXPIRED:
            return RefusedCall(402, Refusal.LIMIT_EXCEEDED, _say(denial, now), details=_details(denial, now))
        case RefusalReason.PARKED:
            return RefusedCall(402, Refusal.PARKED, denial.message, details=_details(denial, now))
        case RefusalReason.TERMINATED:
            return RefusedCall(402, Refusal.TERMINATED, denial.message, details=_details(denial, now))
        case RefusalReason.CONCURRENCY_LIMIT:
            return concurrency_limit(denial)
        case RefusalReason.RESTORE_PENDING:
            return RefusedCall(503, Refusal.RESTORE_PENDING, denial.message, retry_after_s=LONGEST_RETRY_AFTER_S)
        case RefusalReason.STORAGE_FULL:
            return RefusedCall(503, Refusal.LEDGER_FULL, denial.message, retry_after_s=LONGEST_RETRY_AFTER_S)


def waited(denial: Wait, now: datetime, waited_s: float) -> RefusedCall:
    """429: there is no room at this moment, and it was waited for where that helps."""
    if denial.reason is RefusalReason.CONCURRENCY_LIMIT:
        return concurrency_limit(denial)
    return minute_full(denial, now) if minute_is_full(denial) else room_held(denial, now, waited_s)


def concurrency_limit(denial: Denial) -> RefusedCall:
    """429: as many sessions are open as may be; one that ends makes room."""
    return RefusedCall(429, Refusal.CONCURRENCY_LIMIT, denial.message, retry_after_s=LONGEST_RETRY_AFTER_S)


def minute_full(denial: Denial, now: datetime) -> RefusedCall:
    """429: the minute's limit is used up; the next one has room."""
    return RefusedCall(
        429,
        Refusal.LIMIT_EXCEEDED,
        _say(denial, now),
        retry_after_s=_retry_after_s(denial.resets_in_ms),
        details=_details(denial, now),
    )


def room_held(denial: Denial, now: datetime, waited_s: float) -> RefusedCall:
    """429: others hold the room, and none came free in time."""
    message = f"{_say(denial, now)}; calls under way hold the rest, and none came free within {waited_s:g} s"
    return RefusedCall(
        429,
        Refusal.ROOM_HELD,
        message,
        retry_after_s=ROOM_RETRY_AFTER_S,
        details=_details(denial, now),
    )


def minute_is_full(denial: Denial) -> bool:
    """Whether a `Wait` is for the next minute, rather than for others to settle."""
    return denial.window is Window.MINUTE and denial.spent + denial.requested > denial.limit


def session_ended(path: str, ending: str) -> RefusedCall:
    """402: nothing more is admitted for this session."""
    return RefusedCall(402, Refusal.SESSION_ENDED, f"{path} has ended ({ending}); nothing more is admitted for it")


def ledger_away() -> RefusedCall:
    """503: nothing is admitted without the ledger."""
    return RefusedCall(
        503,
        Refusal.LEDGER_AWAY,
        "the ledger does not answer, and nothing is admitted without it",
        retry_after_s=AWAY_RETRY_AFTER_S,
    )


def apiserver_away(message: str) -> RefusedCall:
    """503: who is asking, or whether they may, cannot be found out."""
    return RefusedCall(503, Refusal.APISERVER_AWAY, message, retry_after_s=AWAY_RETRY_AFTER_S)


def not_yet(message: str) -> RefusedCall:
    """503: something that is on its way has not arrived."""
    return RefusedCall(503, Refusal.NOT_YET_KNOWN, message, retry_after_s=AWAY_RETRY_AFTER_S)


def not_yet_known(what: str) -> RefusedCall:
    """503: it may have been created a moment ago."""
    return not_yet(f"{what} is not known to the gateway yet")


def route_unusable(problem: Problem) -> RefusedCall:
    """403: the model's route cannot be called; 503 while that is not known yet."""
    match problem.reason:
        case Unusable.CREDENTIAL_FORBIDDEN:
            return RefusedCall(403, Refusal.CREDENTIAL_FORBIDDEN, problem.message, field="model")
        case Unusable.CREDENTIAL_UNKNOWN:
            return not_yet_known("the route's credential")
        case _:
            return RefusedCall(403, Refusal.ROUTE_UNUSABLE, problem.message, field="model")


def unauthenticated(message: str) -> RefusedCall:
    """401."""
    return RefusedCall(401, Refusal.UNAUTHENTICATED, message)


def _retry_after_s(resets_in_ms: int | None) -> int:
    if resets_in_ms is None:
        return LONGEST_RETRY_AFTER_S
    return max(1, min(LONGEST_RETRY_AFTER_S, -(-resets_in_ms // 1000)))


def _say(denial: Denial, now: datetime) -> str:
    resets_at = _resets_at(denial, now)
    return f"{denial.message}; {f'resets at {resets_at}' if resets_at else 'this never resets'}"


def _details(denial: Denial, now: datetime) -> BoundDetails | None:
    if denial.resource is None or denial.window is None:
        return None
    return BoundDetails(
        bound=f"{denial.resource.value} per {denial.window.value}",
        account=denial.account,
        limit=_quantity(denial.resource, denial.limit),
        spent=_quantity(denial.resource, denial.spent),
        requested=_quantity(denial.resource, denial.requested),
        resets_at=_resets_at(denial, now),
    )


def _resets_at(denial: Denial, now: datetime) -> str | None:
    if denial.resets_in_ms is None:
        return None
    at = now.astimezone(UTC) + timedelta(milliseconds=denial.resets_in_ms)
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")


def _quantity(resource: Resource, amount: int) -> str:
    match resource:
        case Resource.USD | Resource.PAYMENTS:
            return format_usd_nanos(amount)
        case Resource.RUNTIME | Resource.GPU_TIME:
            return format_duration_ms(amount)
        case _:
            return str(amount)
