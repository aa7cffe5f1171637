"""What a run leaves under build/reports, and pytest's own count of a stage's tests."""

from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
REPORTS = ROOT / "build" / "reports"


def junit(stage: str) -> Path:
    """pytest's report of the stage, where it is one of pytest's."""
    return REPORTS / f"{stage}.xml"


def summary(stage: str) -> str | None:
    """`stage: N passed, N failed, N skipped`, from pytest's own report; None where the stage wrote none."""
    if not junit(stage).exists():
        return None
    (suite,) = ElementTree.parse(junit(stage)).getroot().iter("testsuite")
    counted = {what: int(suite.attrib[what]) for what in ("tests", "failures", "errors", "skipped")}
    failed = counted["failures"] + counted["errors"]
    passed = counted["tests"] - failed - counted["skipped"]
    return f"{stage}: {passed} passed, {failed} failed, {counted['skipped']} skipped"


def say(line: str) -> None:
    """A line of the run's own output, at once, so that a log shows it when it happens."""
    print(line, flush=True)
