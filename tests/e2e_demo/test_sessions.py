"""Reading a session from the events of `ambit run --output json`."""

import json
from typing import Any

import pytest

from e2e.demo.sessions import Refusal, UnreadableEvents, Usage, read_session

OPENED = {"event": "opened", "id": "s-1", "namespace": "demo", "agent": "coder", "environment": "container"}
ENDED = {
    "event": "ended",
    "reason": "RuntimeExhausted",
    "message": "its runtime bound of 3m is used up",
    "startMs": 640,
    "usage": {"usd": "0.0125", "tokens": 512, "modelCalls": 7, "runtime": "3m"},
}
REFUSED = (
    "refused status=402 reason=LimitExceeded account=budget/demo/team bound=usd/Day limit=0.05 spent=0.04"
    " resetsAt={at}\n"
)


def lines(*events: dict[str, Any]) -> list[str]:
    return [json.dumps(event) + "\n" for event in events]


def outputs(*texts: str) -> list[dict[str, Any]]:
    return [{"event": "output", "data": text} for text in texts]


def test_a_session_is_what_its_events_say() -> None:
    session = read_session(lines(OPENED, *outputs("one\ntw", "o\n"), ENDED))
    assert (session.id, session.agent, session.environment) == ("s-1", "coder", "container")
    assert session.output == "one\ntwo\n"
    assert (session.reason, session.start_ms, session.exit_code) == ("RuntimeExhausted", 640, None)
    assert session.usage == Usage(usd_nanos=12_500_000, tokens=512, model_calls=7, runtime_ms=180_000)


def test_a_refusal_is_found_however_the_output_was_cut() -> None:
    text = REFUSED.format(at="2026-11-22T00:00:00Z")
    session = read_session(lines(OPENED, *outputs("working\nrefu", text[4:30], text[30:], "tests pass\n"), ENDED))
    assert session.refusals == (Refusal(402, "budget/demo/team", "0.05", "0.04", "2026-11-22T00:00:00Z"),)
    assert session.refusals[0].is_complete


@pytest.mark.parametrize("at", ["None", "null", "undefined", ""])
def test_a_refusal_without_a_reset_is_not_complete(at: str) -> None:
    session = read_session(lines(OPENED, *outputs(REFUSED.format(at=at)), ENDED))
    assert not session.refusals[0].is_complete


@pytest.mark.parametrize(
    ("events", "said"),
    [
        (lines(OPENED), "has no event 'ended'"),
        (lines(ENDED), "has no event 'opened'"),
        (["Error: forbidden\n"], "not an event"),
        (["[]\n"], "not an event"),
        (lines(OPENED, {"event": "burp"}, ENDED), "there is no event 'burp'"),
        (lines(OPENED, {**ENDED, "usage": None}), "an event lacks"),
        (lines(OPENED, {key: value for key, value in ENDED.items() if key != "usage"}), "lacks 'usage'"),
    ],
)
def test_what_is_no_session_is_said(events: list[str], said: str) -> None:
    with pytest.raises(UnreadableEvents, match=said):
        read_session(events)
