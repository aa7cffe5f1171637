"""Refusals: each is documented where its `docs` field says, and has the provider's shape."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from ambit.gateway import refusals
from ambit.gateway.models.surfaces import SURFACES
from ambit.gateway.models.wire_format import RefusedCall, Surface
from ambit.ledger.amounts import Resource, Window
from ambit.ledger.wire import RefusalReason, Refused, Wait
from ambit.telemetry.reasons import Refusal

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("surface", SURFACES, ids=[surface.provider.value for surface in SURFACES])
@pytest.mark.parametrize("reason", Refusal)
def test_each_reason_is_documented_where_the_refusal_says(surface: Surface, reason: Refusal) -> None:
    response = surface.refuse(RefusedCall(403, reason, "no"))
    error = msgspec.json.decode(response.body)["error"]
    page, _, anchor = error["docs"].partition("#")
    headings = [line[4:].lower() for line in (ROOT / page).read_text().splitlines() if line.startswith("### ")]
    assert anchor in headings
    assert (error["message"], error["reason"]) == ("no", reason.value)
    assert (b"x-ambit-reason", reason.value.encode()) in response.headers


@pytest.mark.parametrize("surface", SURFACES, ids=[surface.provider.value for surface in SURFACES])
def test_what_time_cures_says_when_and_what_is_final_says_so(surface: Surface) -> None:
    final = surface.refuse(RefusedCall(402, Refusal.LIMIT_EXCEEDED, "no")).headers
    passing = surface.refuse(RefusedCall(429, Refusal.ROOM_HELD, "not now", retry_after_s=7)).headers
    assert (b"x-should-retry", b"false") in final
    assert (b"retry-after", b"7") in passing
    assert b"x-should-retry" not in dict(passing)


LIMIT = RefusalReason.LIMIT_EXCEEDED
NOW = datetime(2026, 1, 1, tzinfo=UTC)
STATUS = {
    RefusalReason.LIMIT_EXCEEDED: (402, "LimitExceeded", None),
    RefusalReason.CONCURRENCY_LIMIT: (429, "ConcurrencyLimit", 30),
    RefusalReason.SESSION_ENDED: (402, "SessionEnded", None),
    RefusalReason.ACCOUNT_REMOVED: (402, "SessionEnded", None),
    RefusalReason.HOLD_EXPIRED: (402, "LimitExceeded", None),
    RefusalReason.PARKED: (402, "Parked", None),
    RefusalReason.TERMINATED: (402, "Terminated", None),
    RefusalReason.RESTORE_PENDING: (503, "RestorePending", 30),
    RefusalReason.STORAGE_FULL: (503, "LedgerFull", 30),
}


@pytest.mark.parametrize("reason", RefusalReason)
def test_each_refusal_of_the_ledger_has_its_status_and_says_whether_to_try_again(reason: RefusalReason) -> None:
    refused = refusals.refused(Refused(reason, "budget/n/b", "no", Window.DAY, Resource.USD, 10, 10, 0, 1, 5000), NOW)
    assert (refused.status, refused.reason.value, refused.retry_after_s) == STATUS[reason]


@pytest.mark.parametrize(
    ("wait", "reason", "retry_after_s"),
    [
        (Wait(LIMIT, "a", "m", Window.MINUTE, Resource.TOKENS, 9, 9, 0, 1, 7000), "LimitExceeded", 7),
        (Wait(LIMIT, "a", "m", Window.DAY, Resource.TOKENS, 9, 0, 9, 1, 7000), "RoomHeld", 5),
        (Wait(RefusalReason.CONCURRENCY_LIMIT, "a", "m", limit=5, held=5), "ConcurrencyLimit", 30),
    ],
)
def test_what_is_only_in_the_way_for_now_is_429(wait: Wait, reason: str, retry_after_s: int) -> None:
    refused = refusals.waited(wait, NOW, 20)
    assert (refused.status, refused.reason.value, refused.retry_after_s) == (429, reason, retry_after_s)
