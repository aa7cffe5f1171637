"""How a request of people and services is refused.

What a ledger's denial means for a caller, and when to try again, are the rules of `ambit.gateway.refusals`; here are
the refusals that only these callers get, and the JSON that all are answered with.
"""

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

from ambit.api.base import ObjectKey
from ambit.gateway.models.wire_format import RefusedCall, refusal_fields, refusal_headers
from ambit.gateway.refusals import refused as refused_by_ledger
from ambit.gateway.refusals import waited
from ambit.ledger import wire
from ambit.telemetry.reasons import Refusal

HOSTS_FULL_RETRY_AFTER_S: Final = 5
"""Sessions end at any time; a client that comes later finds room no sooner."""
_STATUS: Final = {
    Refusal.AGENT_NOT_ACCEPTED: HTTPStatus.FORBIDDEN,
    Refusal.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    Refusal.FORBIDDEN: HTTPStatus.FORBIDDEN,
    Refusal.MALFORMED: HTTPStatus.BAD_REQUEST,
    Refusal.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Refusal.NOT_FOUND: HTTPStatus.NOT_FOUND,
}


def refused(reason: Refusal, message: str) -> RefusedCall:
    """A refusal for good, and not the ledger's; the message says what to do."""
    return RefusedCall(int(_STATUS[reason]), reason, message)


def hosts_full(pool: ObjectKey, *, asked: int, ready: int) -> RefusedCall:
    """429: no isolate host of the pool has room. `asked`: of its `ready` hosts, those that were."""
    hosts = f"{asked} of its {ready} ready hosts were asked" if asked < ready else f"it has {ready} ready"
    return RefusedCall(
        429,
        Refusal.HOSTS_FULL,
        f"every isolate host of SandboxPool {pool} runs as many sessions as it may ({hosts}): try again when some have"
        f" ended (`ambit sessions {pool.namespace}` lists them), or add hosts: `kubectl scale sandboxpool {pool.name}"
        f" -n {pool.namespace} --replicas {ready + 1}`",
        retry_after_s=HOSTS_FULL_RETRY_AFTER_S,
    )


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
