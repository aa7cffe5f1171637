"""The quickstart's isolate agent, as it runs in an isolate: it works until it is refused, and says what refused it."""

import json
from pathlib import Path

import pytest
from aiohttp import ClientPayloadError, web

from tests.isolates.host import REPOSITORY, Host

RESEARCHER = Path(REPOSITORY / "examples" / "quickstart" / "agents" / "researcher.js").read_text()
ANSWERED_CALLS = 5


def streamed(text: str) -> web.Response:
    """As the model servers stream: one event a word."""
    events = [{"choices": [{"delta": {"content": word + " "}}]} for word in text.split(" ")] + [{"choices": []}]
    lines = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
    return web.Response(text=lines + "data: [DONE]\n\n", content_type="text/event-stream")


async def test_it_researches_until_its_budget_is_exhausted_and_says_so(host: Host) -> None:
    calls: list[dict[str, object]] = []

    async def model(request: web.BaseRequest) -> web.StreamResponse:
        calls.append(await request.json())
        if len(calls) == 2:
            return web.json_response({"error": {}}, status=429, headers={"Retry-After": "1"})
        if len(calls) > ANSWERED_CALLS + 1:
            refusal = {
                "message": "budget/demo/team has spent its usd of the Day",
                "reason": "LimitExceeded",
                "account": "budget/demo/team",
                "bound": "usd",
                "limit": "0.06",
                "spent": "0.0594",
                "resetsAt": "2026-11-22T00:00:00Z",
            }
            return web.json_response({"error": refusal}, status=402)
        return streamed(f"What of the {len(calls)}. thing to know?")

    host.gateway.answer = model
    opened = await host.open("demo/s-1", RESEARCHER, "Why do bridges have arches?")
    assert opened.status == 200
    lines = opened.body.splitlines()
    assert lines[0] == "Question: Why do bridges have arches?"
    assert "[1] What of the 1. thing to know?" in lines
    assert "[2] What of the 4. thing to know?" in lines
    assert lines[-3:] == [
        "budget/demo/team has spent its usd of the Day",
        "refused status=402 reason=LimitExceeded account=budget/demo/team bound=usd limit=0.06 spent=0.0594 "
        "resetsAt=2026-11-22T00:00:00Z",
        "notes of mine: 2",
    ]
    assert {call["model"] for call in calls} == {"local"}
    assert (await host.state("demo/s-1"))["reason"] == "Completed"


async def test_whatever_else_goes_wrong_fails_the_session(host: Host) -> None:
    async def model(_: web.BaseRequest) -> web.StreamResponse:
        return web.json_response({"error": {"message": "no such model"}}, status=403)

    host.gateway.answer = model
    with pytest.raises(ClientPayloadError):
        await host.open("demo/s-1", RESEARCHER, "Why?")
    assert (await host.state("demo/s-1"))["reason"] == "AgentFailed"
