"""Refusals: each is documented where its `docs` field says, and has the provider's shape."""

from pathlib import Path

import msgspec
import pytest

from ambit.gateway.data_path import FORMATS
from ambit.gateway.models.wire_format import RefusedCall, WireFormat
from ambit.telemetry.reasons import Refusal

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("wire", FORMATS, ids=[wire.provider.value for wire in FORMATS])
@pytest.mark.parametrize("reason", Refusal)
def test_each_reason_is_documented_where_the_refusal_says(wire: WireFormat, reason: Refusal) -> None:
    response = wire.refuse(RefusedCall(403, reason, "no"))
    error = msgspec.json.decode(response.body)["error"]
    page, _, anchor = error["docs"].partition("#")
    headings = [line[4:].lower() for line in (ROOT / page).read_text().splitlines() if line.startswith("### ")]
    assert anchor in headings
    assert (error["message"], error["reason"]) == ("no", reason.value)
    assert (b"x-ambit-reason", reason.value.encode()) in response.headers


@pytest.mark.parametrize("wire", FORMATS, ids=[wire.provider.value for wire in FORMATS])
def test_what_time_cures_says_when_and_what_is_final_says_so(wire: WireFormat) -> None:
    final = wire.refuse(RefusedCall(402, Refusal.LIMIT_EXCEEDED, "no")).headers
    passing = wire.refuse(RefusedCall(429, Refusal.ROOM_HELD, "not now", retry_after_s=7)).headers
    assert (b"x-should-retry", b"false") in final
    assert (b"retry-after", b"7") in passing
    assert b"x-should-retry" not in dict(passing)
