"""Each refusal surfaces as the SDK's own typed exception, and a final one is asked once, whatever retries are set."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import httpx
import httpx2
import openai
import pytest
from google.genai import errors as genai_errors

from ambit.gateway.server.limits import Limits
from tests.gateway import harness
from tests.gateway.harness import Gateway, Tenant, calls

pytestmark = pytest.mark.asyncio(loop_scope="module")
HELLO: Any = [{"role": "user", "content": "hello"}]
Send = Callable[[Any, Tenant, str, str, dict[str, Any]], Awaitable[object]]


async def chat(http: Any, tenant: Tenant, token: str, model: str, more: dict[str, Any]) -> object:
    create: Any = tenant.openai(token, http_client=http).chat.completions.create
    return await create(model=model, messages=HELLO, **more)


async def responses(http: Any, tenant: Tenant, token: str, model: str, more: dict[str, Any]) -> object:
    create: Any = tenant.openai(token, http_client=http).responses.create
    return await create(model=model, input="hello", **more)


async def embeddings(http: Any, tenant: Tenant, token: str, model: str, more: dict[str, Any]) -> object:
    more.pop("stream", None)
    return await tenant.openai(token, http_client=http).embeddings.create(model=model, input="hello", **more)


async def messages(http: Any, tenant: Tenant, token: str, model: str, more: dict[str, Any]) -> object:
    create: Any = tenant.anthropic(token, http_client=http).messages.create
    return await create(model=model, messages=HELLO, max_tokens=100, **more)


async def count_tokens(http: Any, tenant: Tenant, token: str, model: str, more: dict[str, Any]) -> object:
    more.pop("stream", None)
    client = tenant.anthropic(token, http_client=http)
    return await client.messages.count_tokens(model=model, messages=HELLO, **more)


HTTP = {"OpenAI": httpx.AsyncClient, "Anthropic": httpx2.AsyncClient}
"""What each SDK sends its requests with."""
SENDS: dict[str, tuple[str, Send]] = {
    "chat": ("OpenAI", chat),
    "responses": ("OpenAI", responses),
    "embeddings": ("OpenAI", embeddings),
    "messages": ("Anthropic", messages),
    "count_tokens": ("Anthropic", count_tokens),
}


@dataclass(frozen=True)
class Case:
    """A way to be refused."""

    status: int
    reason: str
    error: str
    """The name of the exception in OpenAI's SDK, and in Anthropic's where `anthropic` does not say another."""
    model: str = "smart"
    token: str | None = None
    more: tuple[tuple[str, Any], ...] = ()
    anthropic: str | None = None


CASES = [
    Case(400, "Malformed", "BadRequestError", more=(("extra_body", {"model": 7}),)),
    Case(401, "Unauthenticated", "AuthenticationError", token="forged"),
    Case(402, "LimitExceeded", "APIStatusError", anthropic="PaymentRequiredError"),
    Case(403, "ModelNotAllowed", "PermissionDeniedError", model="dear"),
    Case(403, "FeatureNotBounded", "PermissionDeniedError", more=(("extra_body", {"mcp_servers": [{"url": "x"}]}),)),
]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("case", CASES, ids=[f"{case.status} {case.reason}" for case in CASES])
@pytest.mark.parametrize("endpoint", SENDS)
async def test_a_final_refusal_is_typed_and_asked_once(
    gateway: Gateway, endpoint: str, case: Case, stream: bool
) -> None:
    provider, send = SENDS[endpoint]
    tenant = await gateway.tenant(provider=provider)
    token = await tenant.open(*([calls(0)] if case.status == 402 else []))
    asked = 0

    async def count(_: object) -> None:
        nonlocal asked
        asked += 1

    more = {**dict(case.more), **({"stream": True} if stream else {})}
    async with HTTP[provider](event_hooks={"request": [count]}) as http:
        with pytest.raises((openai.APIStatusError, anthropic.APIStatusError)) as refused:
            await send(http, tenant, case.token or token, case.model, more)
    expected = (case.anthropic or case.error) if provider == "Anthropic" else case.error
    assert type(refused.value).__name__ == expected
    assert refused.value.status_code == case.status
    assert refused.value.response.headers["x-ambit-reason"] == case.reason
    assert refused.value.response.headers["x-should-retry"] == "false"
    assert asked == 1
    assert tenant.received == []


async def test_a_body_too_large_is_asked_once_and_one_that_finds_no_room_is_tried_again(tmp_path: Path) -> None:
    asked: list[int] = []

    async def count(_: object) -> None:
        asked[-1] += 1

    async with harness.running(tmp_path, limits=Limits(body_bytes=10_000, all_bodies_bytes=10)) as gateway:
        for endpoint, errors in (
            ("chat", [openai.APIStatusError, openai.InternalServerError]),
            ("messages", [anthropic.APIStatusError, anthropic.InternalServerError]),
        ):
            provider, send = SENDS[endpoint]
            tenant = await gateway.tenant(provider=provider)
            token = await tenant.open()
            for length, status, error in zip((11_000, 1), (413, 503), errors, strict=True):
                asked.append(0)
                async with HTTP[provider](event_hooks={"request": [count]}) as http:
                    with pytest.raises(error) as refused:
                        await send(http, tenant, token, "smart", {"extra_body": {"metadata": {"a": "x" * length}}})
                assert refused.value.status_code == status
        assert asked == [1, 3, 1, 3]
        tenant = await gateway.tenant(provider="Gemini")
        gemini: Any = tenant.gemini(await tenant.open()).aio.models
        for length, code in ((11_000, 413), (1, 503)):
            with pytest.raises(genai_errors.APIError) as stated:
                await gemini.generate_content(model="smart", contents="x" * length)
            assert stated.value.code == code


async def test_a_path_that_is_not_served_is_not_found_and_asked_once(gateway: Gateway) -> None:
    tenant = await gateway.tenant()
    asked = 0

    async def count(_: object) -> None:
        nonlocal asked
        asked += 1

    async with httpx.AsyncClient(event_hooks={"request": [count]}) as http:
        with pytest.raises(openai.NotFoundError) as refused:
            await tenant.openai(await tenant.open(), http_client=http).files.list()
    assert (refused.value.response.headers["x-ambit-reason"], asked) == ("NotFound", 1)
