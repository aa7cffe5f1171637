"""How a request of people and services is refused: the table of `docs/design`, once, for this listener.

What a ledger's denial means for a caller: a limit that time does not cure soon is 402 and final; a Minute window, or
room that others only hold, is 429 with how long to wait, at most 30 s (longer waits make clients sleep in silence).
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, Final

from ambit.ledger import wire
from ambit.ledger.amounts import Window
from ambit.telemetry.reasons import Refusal

RETRY_AFTER_MAX_S: Final = 30
RETRY_SOON_S: Final = 5
_STATUS: Final = {
    Refusal.LIMIT_EXCEEDED: HTTPStatus.PAYMENT_REQUIRED,
    Refusal.SESSION_ENDED: HTTPStatus.PAYMENT_REQUIRED,
    Refusal.ROOM_HELD: HTTPStatus.TOO_MANY_REQUESTS,
    Refusal.AGENT_NOT_ACCEPTED: HTTPStatus.FORBIDDEN,
    Refusal.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    Refusal.FORBIDDEN: HTTPStatus.FORBIDDEN,
    Refusal.MALFORMED: HTTPStatus.BAD_REQUEST,
    Refusal.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Refusal.NOT_FOUND: HTTPStatus.NOT_FOUND,
    Refusal.NOT_YET_KNOWN: HTTPStatus.SERVICE_UNAVAILABLE,
    Refusal.LEDGER_AWAY: HTTPStatus.SERVICE_UNAVAILABLE,
    Refusal.APISERVER_AWAY: HTTPStatus.SERVICE_UNAVAILABLE,
}


@dataclass(frozen=True)
class Shortage:
    """Which limit of which account left no room; amounts in the resource's unit (nano-dollars, tokens, calls, ms)."""

    bound: str
    """`<resource> per <window>`, e.g. `runtime per Lifetime`."""
    account: str
    limit: int
    spent: int
    held: int
    requested: int
    resets_in_ms: int | None

    def to_dict(self, now: datetime) -> dict[str, Any]:
        """The JSON form."""
        shown: dict[str, Any] = {
            "bound": self.bound,
            "account": self.account,
            "limit": self.limit,
            "spent": self.spent,
            "held": self.held,
            "requested": self.requested,
        }
        if self.resets_in_ms is not None:
            resets_at = now + timedelta(milliseconds=self.resets_in_ms)
            shown["resetsAt"] = resets_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return shown


class Refused(Exception):
    """The request is refused; the message says what to do."""

    def __init__(
        self, reason: Refusal, message: str, *, retry_after_s: int | None = None, shortage: Shortage | None = None
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.shortage = shortage
        self.retry_after_s = retry_after_s

    @property
    def status(self) -> HTTPStatus:
        """429 for a limit that waiting a little cures, else what the reason says."""
        if self.reason is Refusal.LIMIT_EXCEEDED and self.retry_after_s is not None:
            return HTTPStatus.TOO_MANY_REQUESTS
        return _STATUS[self.reason]

    @property
    def headers(self) -> dict[str, str]:
        """`x-ambit-reason`, and whether and when to try again."""
        headers = {"x-ambit-reason": self.reason.value}
        if self.retry_after_s is None:
            headers["x-should-retry"] = "false"
        else:
            headers["Retry-After"] = str(self.retry_after_s)
        if self.reason is Refusal.UNAUTHENTICATED:
            headers["WWW-Authenticate"] = "Bearer"
        return headers

    def body(self, now: datetime) -> dict[str, Any]:
        """The JSON body."""
        body: dict[str, Any] = {"reason": self.reason.value, "message": self.message}
        if self.shortage is not None:
            body |= self.shortage.to_dict(now)
        return body


def not_yet(message: str) -> Refused:
    """Something that is on its way has not arrived."""
    return Refused(Refusal.NOT_YET_KNOWN, message, retry_after_s=RETRY_SOON_S)


def ledger_away() -> Refused:
    """Nothing is admitted without the ledger."""
    return Refused(
        Refusal.LEDGER_AWAY,
        "the ledger does not answer, and no session runs without an account: try again; an administrator finds out more"
        " from the pods labelled ambit.dev/component=ledger",
        retry_after_s=RETRY_SOON_S,
    )


def by_ledger(denial: wire.Refused | wire.Wait) -> Refused:
    """What a denial of the ledger means for the caller."""
    if denial.reason is not wire.RefusalReason.LIMIT_EXCEEDED:
        return Refused(Refusal.SESSION_ENDED, denial.message)
    shortage = Shortage(
        bound=f"{denial.resource} per {denial.window}",
        account=denial.account,
        limit=denial.limit,
        spent=denial.spent,
        held=denial.held,
        requested=denial.requested,
        resets_in_ms=denial.resets_in_ms,
    )
    if denial.window is Window.MINUTE:
        return Refused(
            Refusal.LIMIT_EXCEEDED,
            denial.message,
            retry_after_s=_whole_seconds(denial.resets_in_ms),
            shortage=shortage,
        )
    if isinstance(denial, wire.Wait):
        return Refused(Refusal.ROOM_HELD, denial.message, retry_after_s=RETRY_SOON_S, shortage=shortage)
    return Refused(Refusal.LIMIT_EXCEEDED, denial.message, shortage=shortage)


def _whole_seconds(resets_in_ms: int | None) -> int:
    if resets_in_ms is None:
        return RETRY_AFTER_MAX_S
    return max(1, min(-(-resets_in_ms // 1000), RETRY_AFTER_MAX_S))
