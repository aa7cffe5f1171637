"""Every reason that people and clients are told is explained, in the one place where its kind stands; and none is that
nobody says.
"""

import re
from enum import StrEnum
from functools import cache
from pathlib import Path

import pytest

from ambit.ledger.wire import RefusalReason
from ambit.telemetry import reasons

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "operator" / "src" / "ambit"
DOCS = ROOT / "docs"
ROUTE_CREDENTIAL = {"Readable"}
"""Said by the gateway, in its condition of a ModelRoute."""
OF_THE_LEDGER_ALONE = {RefusalReason.HOLD_EXPIRED}
"""Told to a holder that comes back too late with its hold; the gateway says LimitExceeded."""


def table_cells(page: Path) -> set[str]:
    """The words that stand in code font in the first cell of a row."""
    rows = re.findall(r"^\| (`.*?) \|", page.read_text(), re.MULTILINE)
    return {word for row in rows for word in re.findall(r"`(\w+)`", row)}


@cache
def sources() -> str:
    files = (path for path in SOURCES.rglob("*.py") if path.name != "reasons.py")
    return "\n".join(path.read_text() for path in files)


def test_what_the_gateway_refuses_has_its_section() -> None:
    explained = re.findall(r"^### (\w+)$", (DOCS / "errors.md").read_text(), re.MULTILINE)
    assert len(explained) == len(set(explained))
    assert set(explained) == {*reasons.Refusal, *reasons.EgressRefusal}


def test_what_a_status_or_a_sessions_end_says_has_its_row() -> None:
    said = {*reasons.Progress, *reasons.Denial, *reasons.SessionEnd}
    assert said <= table_cells(DOCS / "status.md")


def test_what_a_host_says_is_explained() -> None:
    of_hosts = (DOCS / "status.md").read_text().partition("An isolate host names its own causes")[2]
    assert set(reasons.HostError) <= set(re.findall(r"`(\w+)`", of_hosts))


def test_what_the_ledger_refuses_is_explained_to_those_who_run_it() -> None:
    page = (DOCS / "ledger.md").read_text()
    assert {each for each in RefusalReason if f"`{each}`" not in page} == OF_THE_LEDGER_ALONE


@pytest.mark.parametrize(
    "kind",
    [reasons.Progress, reasons.Denial, reasons.SessionEnd, reasons.Refusal, reasons.HostError, reasons.EgressRefusal],
)
def test_no_reason_is_there_that_nobody_says(kind: type[StrEnum]) -> None:
    aliases = {kind.__name__, *re.findall(rf"import {kind.__name__} as (\w+)", sources())}
    used = re.findall(rf"\b(?:{'|'.join(aliases)})\.([A-Z_]+)\b", sources())
    assert [each.name for each in kind if each.name not in used] == []


def test_no_row_explains_what_is_not_said() -> None:
    known = {*reasons.Progress, *reasons.Denial, *reasons.SessionEnd, *ROUTE_CREDENTIAL}
    kinds = {"Budget", "Agent", "ModelRoute", "SandboxPool", "Sandbox"}
    assert table_cells(DOCS / "status.md") <= known | kinds
