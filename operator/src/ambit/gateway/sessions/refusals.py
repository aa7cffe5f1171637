"""How a request of people and services is refused.

What a ledger's denial means for a caller is the rule of `ambit.gateway.refusals`; here are the other reasons, and the
JSON that all are answered with.
"""

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

from ambit.gateway.models.wire_format import RefusedCall, refusal_fields, refusal_headers
from ambit.gateway.refusals import AWAY_RETRY_AFTER_S, waited
from ambit.gateway.refusals import refused as refused_by_ledger
from ambit.ledger import wire
from ambit.telemetry.reasons import Refusal

_STATUS: Final = {
    Refusal.AGENT_NOT_ACCEPTED: HTTPStatus.FORBIDDEN,
    Refusal.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    Refusal.FORBIDDEN: HTTPStatus.FORBIDDEN,
    Refusal.MALFORMED: HTTPStatus.BAD_REQUEST,
    Refusal.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Refusal.NOT_FOUND: HTTPStatus.NOT_FOUND,
    Refusal.NOT_YET_KNOWN: HTTPStatus.SERVICE_UNAVAILABLE,
    Refusal.APISERVER_AWAY: HTTPStatus.SERVICE_UNAVAILABLE,
}


def refused(reason: Refusal, message: str, *, retry_after_s: int | None = None) -> RefusedCall:
    """A refusal that is not the ledger's; the message says what to do."""
    return RefusedCall(int(_STATUS[reason]), reason, message, retry_after_s=retry_after_s)


def not_yet(message: str) -> RefusedCall:
    """Something that is on its way has not arrived."""
    return refused(Refusal.NOT_YET_KNOWN, message, retry_after_s=AWAY_RETRY_AFTER_S)


def by_ledger(denial: wire.Refused | wire.Wait, waited_s: float) -> RefusedCall:
    """What a denial of the ledger means for the caller."""
    now = datetime.now(UTC)
    if isinstance(denial, wire.Refused):
        return refused_by_ledger(denial, now)
    return waited(denial, now, waited_s)


def headers(refusal: RefusedCall) -> dict[str, str]:
    """`x-ambit-reason`, and whether and when to try again."""
    shown = {name.decode(): value.decode() for name, value in refusal_headers(refusal) if name != b"content-type"}
    if refusal.reason is Refusal.UNAUTHENTICATED:
        shown["www-authenticate"] = "Bearer"
    return shown


def body(refusal: RefusedCall) -> dict[str, Any]:
    """The JSON body; what does not apply is absent."""
    fields: dict[str, str | None] = {"message": refusal.message, **refusal_fields(refusal)}
    return {name: value for name, value in fields.items() if value is not None}
