"""Each check of the demo holds for a run as it should be, and fails for one thing that went wrong."""

from dataclasses import replace
from typing import Any

import pytest

from ambit.api.budget import ResourceName
from e2e.demo.checks import Seen, judge
from e2e.demo.sessions import Session, Usage
from e2e.demo.standings import Standing

REFUSED = (
    "refused status=402 reason=LimitExceeded account=budget/demo-1/team limit=0.06 spent=0.05"
    " resetsAt=2026-11-22T00:00:00Z\n"
)
CODER = Session(
    id="s-c",
    agent="coder",
    environment="container",
    output=f"wrap: committed abc Document wrap\n{REFUSED}tests pass\n",
    reason="RuntimeExhausted",
    message="its runtime bound of 3m is used up",
    exit_code=None,
    start_ms=700,
    usage=Usage(usd_nanos=30, tokens=900, model_calls=9, runtime_ms=180_000),
)
RESEARCHER = replace(
    CODER,
    id="s-r",
    agent="researcher",
    environment="isolate",
    output=REFUSED,
    reason="Completed",
    usage=replace(CODER.usage, usd_nanos=20),
)


def team(spent: int, held: int = 0) -> Standing:
    return Standing("team", "Day", ResourceName.USD, limit=60, spent=spent, held=held)


def organisation(spent: int, held: int = 0) -> Standing:
    return Standing("organisation", "Lifetime", ResourceName.USD, limit=1000, spent=spent, held=held)


GOOD = Seen(
    namespace="demo-1",
    sessions=(RESEARCHER, CODER),
    samples=((), (team(10, 50), organisation(10, 50)), (team(40, 10), organisation(40, 10))),
    final=(team(50), organisation(50)),
    running_pods=("default-isolate-host-0",),
)


def failed(seen: Seen) -> list[str]:
    return [check.statement for check in judge(seen) if not check.held]


def with_coder(**changes: Any) -> Seen:
    return replace(GOOD, sessions=(RESEARCHER, replace(CODER, **changes)))


def with_researcher(**changes: Any) -> Seen:
    return replace(GOOD, sessions=(replace(RESEARCHER, **changes), CODER))


def test_a_run_as_it_should_be_passes_every_check() -> None:
    assert failed(GOOD) == []
    assert len(judge(GOOD)) == 14


SAW = "saw its 402 with account, limit, spent and reset"
HELD = "spent + held ≤ limit held for"
ADDS_UP = "what the sessions spent is what their Budgets were charged"


@pytest.mark.parametrize(
    ("seen", "statements"),
    [
        (replace(GOOD, sessions=(CODER,)), ["researcher ran", ADDS_UP]),
        (with_coder(environment="isolate"), ["coder ran as its Agent says"]),
        (with_researcher(usage=Usage(20, 0, 0, 0)), ["researcher did work"]),
        (with_researcher(output=""), [f"researcher {SAW}"]),
        (with_researcher(output=REFUSED.replace("402", "403")), [f"researcher {SAW}"]),
        (with_coder(output=CODER.output.replace("spent=0.05 ", "")), [f"coder {SAW}"]),
        (with_coder(output=CODER.output.replace("demo-1/", "demo-2/")), [f"coder {SAW}"]),
        (with_coder(output=REFUSED), ["coder committed to its repository"]),
        (with_coder(reason="Completed"), ["coder's container was ended by its runtime bound"]),
        (with_researcher(reason="Failed"), ["researcher answered and ended by itself"]),
        (replace(GOOD, samples=((team(20, 41), organisation(20, 41)),)), [f"{HELD} team"]),
        (replace(GOOD, samples=((team(20), organisation(900, 101)),)), [f"{HELD} organisation"]),
        (replace(GOOD, final=(team(50),), samples=()), [f"{HELD} organisation", ADDS_UP]),
        (replace(GOOD, final=(team(51), organisation(51))), [ADDS_UP]),
        (replace(GOOD, final=(team(50), organisation(49))), [ADDS_UP]),
        (replace(GOOD, final=(team(50, 1), organisation(50))), ["nothing is held any more"]),
        (replace(GOOD, running_pods=("s-c",)), ["no session left anything running"]),
    ],
)
def test_what_went_wrong_is_said_and_nothing_else(seen: Seen, statements: list[str]) -> None:
    assert failed(seen) == statements


def test_a_teams_day_that_ends_during_the_run_is_no_error() -> None:
    seen = replace(GOOD, final=(team(5), organisation(50)))
    assert failed(seen) == []
