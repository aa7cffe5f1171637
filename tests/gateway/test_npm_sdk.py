"""The official npm clients, unmodified, in Node: calls, streams, and each refusal as their own typed error."""

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ambit.gateway.server.limits import Limits
from tests.gateway import harness
from tests.gateway.harness import Gateway, Tenant, calls

pytestmark = pytest.mark.asyncio(loop_scope="module")

FOLDER = Path(__file__).with_name("npm")
FORMATS = {
    "chat": "OpenAI",
    "responses": "OpenAI",
    "embeddings": "OpenAI",
    "messages": "Anthropic",
    "count_tokens": "Anthropic",
}
STREAMED = ("chat", "responses", "messages")


async def run(asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What became of these calls, in one Node."""
    node = await asyncio.create_subprocess_exec(
        "node", "clients.mjs", cwd=FOLDER, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await node.communicate(json.dumps(asked).encode())
    assert node.returncode == 0
    outcomes: list[dict[str, Any]] = json.loads(said)
    return outcomes


def a_call(tenant: Tenant, token: str, call: str, **body: Any) -> dict[str, Any]:
    url = tenant.gateway.sandbox_url
    return {"url": url, "token": token, "provider": FORMATS[call], "call": call, "body": {"model": "smart", **body}}


async def tenants(gateway: Gateway, script: str = "tokens=3&input=100", **route: Any) -> dict[str, Tenant]:
    """One for each provider's formats."""
    return {
        provider: await gateway.tenant(scripts={"smart": script}, provider=provider, **route)
        for provider in ("OpenAI", "Anthropic")
    }


async def test_calls_and_streams_are_answered_and_charged(gateway: Gateway) -> None:
    both = await tenants(gateway)
    tokens = {provider: await tenant.open() for provider, tenant in both.items()}
    asked = [a_call(both[provider], tokens[provider], call) for call, provider in FORMATS.items()]
    asked += [a_call(both[FORMATS[call]], tokens[FORMATS[call]], call, stream=True) for call in STREAMED]
    listing = [
        {**a_call(both[provider], tokens[provider], call), "call": "models"} for call, provider in FORMATS.items()
    ]
    outcomes = await run([*asked, listing[0], listing[-1]])
    answered = dict(zip(FORMATS, outcomes, strict=False))
    assert [one.get("error") for one in outcomes] == [None] * len(outcomes)
    assert answered["chat"]["answer"]["choices"][0]["message"]["content"] == "w0 w1 w2 "
    assert answered["responses"]["answer"]["output_text"] == "w0 w1 w2 "
    assert answered["messages"]["answer"]["content"][0]["text"] == "w0 w1 w2 "
    assert answered["count_tokens"]["answer"]["input_tokens"] == 100
    chat, responses, messages = outcomes[len(FORMATS) : len(FORMATS) + 3]
    assert "".join(event["choices"][0]["delta"].get("content", "") for event in chat["events"]) == "w0 w1 w2 "
    assert responses["events"][-1]["type"] == "response.completed"
    assert [event["type"] for event in messages["events"]][-1] == "message_stop"
    assert [model["id"] for model in outcomes[-1]["answer"]["data"]] == ["smart"]
    assert (await both["OpenAI"].settled()).spent.tokens == 4 * 103 + 100
    assert (await both["Anthropic"].settled()).spent.tokens == 2 * 103


@dataclass(frozen=True)
class Case:
    """A way to be refused for good, and the error of OpenAI's client, and of Anthropic's where that has another."""

    status: int
    reason: str
    error: str
    body: dict[str, Any] = field(default_factory=dict[str, Any])
    token: str | None = None
    anthropic: str | None = None

    def error_of(self, provider: str) -> str:
        return (self.anthropic or self.error) if provider == "Anthropic" else self.error


CASES = [
    Case(400, "Malformed", "BadRequestError", {"model": 7}),
    Case(401, "Unauthenticated", "AuthenticationError", token="forged"),
    Case(402, "LimitExceeded", "APIError", anthropic="PaymentRequiredError"),
    Case(403, "ModelNotAllowed", "PermissionDeniedError", {"model": "dear"}),
    Case(403, "FeatureNotBounded", "PermissionDeniedError", {"mcp_servers": [{"url": "x"}]}),
]


async def test_a_final_refusal_is_a_typed_error_and_asked_once(gateway: Gateway) -> None:
    both = await tenants(gateway)
    asked: list[dict[str, Any]] = []
    expected: list[tuple[str, int, str, int]] = []
    for case in CASES:
        name = f"s-{case.reason.lower()}"
        limits = [calls(0)] if case.status == 402 else []
        tokens = {provider: await tenant.open(*limits, name=name) for provider, tenant in both.items()}
        for call, provider in FORMATS.items():
            for stream in (False, True) if call in STREAMED else (False,):
                token = case.token or tokens[provider]
                asked.append(a_call(both[provider], token, call, **case.body, **({"stream": True} if stream else {})))
                expected.append((case.error_of(provider), case.status, case.reason, 1))
    asked.append({**a_call(both["OpenAI"], await both["OpenAI"].open(), "chat"), "call": "files"})
    expected.append(("NotFoundError", 404, "NotFound", 1))
    outcomes = await run(asked)
    assert [(one.get("error"), one.get("status"), one.get("reason"), one["requests"]) for one in outcomes] == expected
    assert [tenant.received for tenant in both.values()] == [[], []]


async def test_a_body_too_large_is_final_and_one_that_finds_no_room_is_tried_again(tmp_path: Path) -> None:
    async with harness.running(tmp_path, limits=Limits(body_bytes=10_000, all_bodies_bytes=10)) as gateway:
        both = await tenants(gateway)
        tokens = {provider: await tenant.open() for provider, tenant in both.items()}
        asked = [
            a_call(both[FORMATS[call]], tokens[FORMATS[call]], call, metadata={"a": "x" * length})
            for length in (11_000, 1)
            for call in ("chat", "messages")
        ]
        outcomes = await run(asked)
    assert [(one["error"], one["status"], one["reason"], one["requests"]) for one in outcomes] == [
        ("APIError", 413, "TooLarge", 1),
        ("ContentTooLargeError", 413, "TooLarge", 1),
        ("InternalServerError", 503, "Stopping", 3),
        ("ServiceUnavailableError", 503, "Stopping", 3),
    ]


async def test_a_providers_own_429_is_a_rate_limit_and_tried_again(gateway: Gateway) -> None:
    both = await tenants(gateway, "status=429&retry_after=1")
    asked = [a_call(both[FORMATS[call]], await both[FORMATS[call]].open(), call) for call in ("chat", "messages")]
    outcomes = await run(asked)
    assert [(one["error"], one["status"]) for one in outcomes] == [("RateLimitError", 429)] * 2
    assert [one["requests"] for one in outcomes] == [3, 3]
