"""A refusal says where it is explained, below the address that the process was told."""

from collections.abc import Generator

import pytest

from ambit.gateway.models.wire_format import RefusedCall, refusal_fields
from ambit.telemetry import documentation
from ambit.telemetry.reasons import Refusal


@pytest.fixture(autouse=True)
def told_nothing() -> Generator[None]:
    yield
    documentation.configure(documentation.IN_THE_SOURCE)


def test_a_refusal_links_to_its_explanation() -> None:
    refusal = RefusedCall(402, Refusal.LIMIT_EXCEEDED, "no room")
    assert refusal_fields(refusal)["docs"] == "docs/errors.md#limitexceeded"
    documentation.configure("https://git.example/ambit/blob/main/docs")
    assert refusal_fields(refusal)["docs"] == "https://git.example/ambit/blob/main/docs/errors.md#limitexceeded"
