"""What a component of version 1 is answered: nothing that it cannot read, and no answer left out."""

from typing import Any

import msgspec
import pytest

from ambit.ledger import older_answers, wire
from ambit.ledger.amounts import Amount, Resource, Window
from ambit.telemetry.reasons import SessionEnd

KNOWN = Amount(usd_nanos=1, tokens=2, model_calls=3, runtime_ms=4)
NEWER = Amount(usd_nanos=1, tokens=2, model_calls=3, runtime_ms=4, input_tokens=5, gpu_time_ms=6)
OLD_AMOUNT = {"usd": 1, "tokens": 2, "modelCalls": 3, "runtime": 4}
OPEN = wire.Open("session/n/s", "agent/n/a", 1000)
RESERVE = wire.Reserve("h", "session/n/s", KNOWN, KNOWN, 1000)


def said(result: wire.AnyResult, op: wire.AnyOperation = RESERVE) -> dict[str, Any]:
    """One answer as it goes out."""
    (answer,) = msgspec.json.decode(older_answers.encode([op], [result]))["results"]
    return answer


def test_amounts_have_the_resources_that_it_counts() -> None:
    assert said(wire.Granted(NEWER))["amount"] == OLD_AMOUNT
    assert said(wire.Settled(NEWER))["overrun"] == OLD_AMOUNT


@pytest.mark.parametrize("kind", [wire.Refused, wire.Wait])
@pytest.mark.parametrize("reason", list(wire.RefusalReason))
def test_a_reason_that_it_does_not_know_is_one_that_it_does(
    kind: type[wire.Refused] | type[wire.Wait], reason: wire.RefusalReason
) -> None:
    answer = said(kind(reason, "budget/n/b", "why", Window.HOUR, Resource.GPU_TIME, ended=SessionEnd.BUDGET_EXHAUSTED))
    assert answer["result"] == kind.__name__
    assert answer["reason"] in {"LimitExceeded", "SessionEnded", "AccountRemoved", "HoldExpired"}
    assert (answer["window"], answer["resource"], answer["ended"]) == (None, None, "Killed")
    assert answer["message"] == "why"


def test_a_limit_that_it_knows_is_told_as_it_is() -> None:
    refused = wire.Refused(
        wire.RefusalReason.LIMIT_EXCEEDED,
        "budget/n/b",
        "why",
        Window.DAY,
        Resource.USD,
        5,
        4,
        0,
        2,
        100,
        SessionEnd.FAILED,
    )
    assert said(refused) == msgspec.to_builtins(refused)


def test_opening_is_refused_where_a_newer_component_would_wait() -> None:
    wait = wire.Wait(wire.RefusalReason.CONCURRENCY_LIMIT, "budget/n/b", "two sessions are open")
    assert said(wait, OPEN)["result"] == "Refused"


def test_usage_leaves_out_what_it_does_not_count() -> None:
    limits = (wire.LimitUsage(Window.DAY, Resource.USD, 5, 1, 1), wire.LimitUsage(Window.HOUR, Resource.USD, 5, 1, 1))
    holds = (wire.HoldView("h", "gateway", NEWER, 5),)
    usage = wire.Usage(
        "session/n/s", wire.State.ENDED, limits=limits, spent=NEWER, held=NEWER, overrun=NEWER, holds=holds,
        closed_reason=SessionEnd.BUDGET_EXHAUSTED,
    )  # fmt: skip
    for answer in (said(usage), said(wire.SessionClosed(usage))["usage"], said(wire.Sessions((usage,)))["sessions"][0]):
        assert answer["spent"] == answer["held"] == answer["overrun"] == answer["holds"][0]["amount"] == OLD_AMOUNT
        assert [limit["window"] for limit in answer["limits"]] == ["Day"]
        assert answer["closedReason"] == "Killed"


def test_every_other_answer_is_as_it_is() -> None:
    for result in (wire.AlreadySettled(), wire.Released(), wire.UnknownHold("h"), wire.Invalid("why")):
        assert said(result) == msgspec.to_builtins(result)
