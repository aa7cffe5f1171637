"""The unmodified `google-genai` SDK through the gateway."""

# pyright: reportUnknownMemberType=false
# The signatures of google-genai are partly unknown: they name types of PIL, which is not installed.

import asyncio
from pathlib import Path

import httpx
import pytest
from google.genai import errors, types

from ambit.ledger import wire
from ambit.ledger.amounts import Amount, Window
from tests.gateway import harness
from tests.gateway.harness import ORGANISATION, Gateway, Tenant, calls

pytestmark = pytest.mark.asyncio(loop_scope="module")
FIVE_WORDS = "w0 w1 w2 w3 w4 "
PRICE = {"input": "2", "output": "10", "cacheRead": "0.5"}


async def a_tenant(gateway: Gateway, script: str = "tokens=5&input=100&cached=40&thoughts=7") -> Tenant:
    return await gateway.tenant(scripts={"smart": script}, provider="Gemini", price=PRICE)


async def test_a_call_is_charged_with_its_thoughts_and_what_was_cached(gateway: Gateway) -> None:
    tenant = await a_tenant(gateway)
    token = await tenant.open()
    async with tenant.gemini(token).aio as client:
        answer = await client.models.generate_content(model="smart", contents="hello")
    assert answer.text == FIVE_WORDS
    assert (await tenant.settled()).spent == Amount(
        usd_nanos=60 * 2000 + 40 * 500 + 12 * 10_000, tokens=112, input_tokens=100, output_tokens=12, model_calls=1
    )
    [received] = tenant.received
    assert received.header("x-goog-api-key") == "sk-provider-key"
    assert received.json["generationConfig"]["maxOutputTokens"] == 4000
    assert token not in f"{received.target} {received.headers} {received.body!r}"


async def test_a_stream_passes_and_its_last_counts_hold(gateway: Gateway) -> None:
    tenant = await a_tenant(gateway)
    async with tenant.gemini(await tenant.open()).aio as client:
        chunks = [one async for one in await client.models.generate_content_stream(model="smart", contents="hello")]
    assert "".join(chunk.text or "" for chunk in chunks) == FIVE_WORDS
    assert tenant.received[0].target.endswith(":streamGenerateContent?alt=sse")
    assert (await tenant.settled()).spent.tokens == 112


async def test_the_synchronous_client_works_alike(gateway: Gateway) -> None:
    tenant = await a_tenant(gateway)
    token = await tenant.open()

    def in_a_thread() -> tuple[str | None, str]:
        with tenant.gemini(token) as client:
            whole = client.models.generate_content(model="smart", contents="hello")
            stream = client.models.generate_content_stream(model="smart", contents="hello")
            return whole.text, "".join(chunk.text or "" for chunk in stream)

    assert await asyncio.to_thread(in_a_thread) == (FIVE_WORDS, FIVE_WORDS)
    assert (await tenant.settled()).spent.model_calls == 2


async def test_a_kill_ends_a_stream_with_max_tokens(gateway: Gateway) -> None:
    tenant = await a_tenant(gateway, "tokens=9&hang_after=3")
    config = types.GenerateContentConfig(max_output_tokens=50)
    async with tenant.gemini(await tenant.open()).aio as client:
        stream = await client.models.generate_content_stream(model="smart", contents="hello", config=config)
        text, last = "", None
        async for chunk in stream:
            text += chunk.text or ""
            last = chunk
            if text == "w0 w1 w2 ":
                await gateway.ledger.kill(wire.Kill(path=tenant.agent, reason="enough", by="test"))
    assert last is not None
    assert last.candidates is not None
    assert last.candidates[0].finish_reason is types.FinishReason.MAX_TOKENS
    assert text == "w0 w1 w2 "
    assert (await tenant.settled()).spent.output_tokens == 50  # the hold: what the provider billed is not known


async def test_a_kill_ends_a_stream_that_is_an_array_with_max_tokens(gateway: Gateway) -> None:
    tenant = await a_tenant(gateway, "tokens=9&hang_after=3")
    url = f"{gateway.sandbox_url}/gemini/v1beta/models/smart:streamGenerateContent"
    async with (
        httpx.AsyncClient(headers={"x-goog-api-key": await tenant.open()}, timeout=60) as client,
        client.stream("POST", url, json={"contents": [{"parts": [{"text": "hello"}]}]}) as answer,
    ):
        body = b""
        async for piece in answer.aiter_bytes():
            body += piece
            if b"w2" in piece:
                await gateway.ledger.kill(wire.Kill(path=tenant.agent, reason="enough", by="test"))
    read = httpx.Response(200, content=body).json()
    assert [one["candidates"][0].get("finishReason") for one in read] == [None, None, None, "MAX_TOKENS"]


async def test_an_array_passes_unaltered(gateway: Gateway) -> None:
    tenant = await a_tenant(gateway)
    url = f"{gateway.sandbox_url}/gemini/v1beta/models/smart:streamGenerateContent"
    async with httpx.AsyncClient(headers={"x-goog-api-key": await tenant.open()}) as client:
        answer = await client.post(url, json={"contents": [{"parts": [{"text": "hello"}]}]})
    texts = [one["candidates"][0]["content"]["parts"][0]["text"] for one in answer.json()]
    assert "".join(texts) == FIVE_WORDS
    assert (await tenant.settled()).spent.tokens == 112


async def test_the_token_may_be_the_querys_key_and_goes_no_further(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    tenant = await a_tenant(gateway)
    token = await tenant.open()
    url = f"{gateway.sandbox_url}/gemini/v1beta/models/smart:generateContent?key="
    async with httpx.AsyncClient() as client:
        answer = await client.post(url + token, json={"contents": [{"parts": [{"text": "hello"}]}]})
        forged = await client.post(f"{url}{token}x", json={"contents": []})
        twice = await client.post(f"{url}{token}&key={token}", json={"contents": []})
    assert (answer.status_code, forged.status_code, twice.status_code) == (200, 401, 401)
    assert "key=" not in tenant.received[0].target
    ours = [record.getMessage() + str(vars(record)) for record in caplog.records if record.name.startswith("ambit")]
    assert ours
    assert not [line for line in ours if token in line]


async def test_tokens_are_counted_as_a_call_without_charge(gateway: Gateway) -> None:
    tenant = await a_tenant(gateway)
    async with tenant.gemini(await tenant.open()).aio as client:
        counted = await client.models.count_tokens(model="smart", contents="hello")
    assert counted.total_tokens == 100
    assert (await tenant.settled()).spent == Amount(model_calls=1)


async def test_the_models_of_the_agent_are_listed_and_described(gateway: Gateway) -> None:
    tenant = await gateway.tenant(scripts={"smart": "", "small": ""}, provider="Gemini", price=PRICE)
    async with tenant.gemini(await tenant.open()).aio as client:
        assert [model.name async for model in await client.models.list()] == ["models/small", "models/smart"]
        assert (await client.models.get(model="smart")).name == "models/smart"
        with pytest.raises(errors.ClientError, match="not among this agent's models of this format") as refused:
            await client.models.get(model="dear")
    assert refused.value.code == 403


async def test_an_exhausted_bound_is_402_with_our_message(gateway: Gateway) -> None:
    tenant = await a_tenant(gateway)
    async with tenant.gemini(await tenant.open(calls(1))).aio as client:
        await client.models.generate_content(model="smart", contents="hello")
        with pytest.raises(errors.ClientError) as refused:
            await client.models.generate_content(model="smart", contents="hello")
        with pytest.raises(errors.ClientError) as streamed:
            await anext(aiter(await client.models.generate_content_stream(model="smart", contents="hello")))
    assert (refused.value.code, refused.value.status) == (402, "FAILED_PRECONDITION")
    assert f"{tenant.session()} allows 1 modelCalls in its lifetime" in str(refused.value.message)
    assert streamed.value.code == 402
    assert len(tenant.received) == 1


async def test_a_full_minute_says_when_to_try_again(tmp_path: Path) -> None:
    async with harness.running(tmp_path, queue_s=0.0) as gateway:  # or it might wait for the next
        tenant = await a_tenant(gateway)
        await gateway.operator.put_account(wire.PutAccount(tenant.budget, (calls(1, Window.MINUTE),), ORGANISATION))
        async with tenant.gemini(await tenant.open()).aio as client:

            async def until_it_is_refused() -> None:
                while True:  # a minute may begin between two
                    await client.models.generate_content(model="smart", contents="hello")
                    await tenant.settled()

            with pytest.raises(errors.ClientError) as refused:
                await until_it_is_refused()
    assert (refused.value.code, refused.value.status) == (429, "RESOURCE_EXHAUSTED")
    assert "google.rpc.RetryInfo" in str(refused.value)


async def test_what_cannot_be_bounded_is_403_and_named(gateway: Gateway) -> None:
    tenant = await a_tenant(gateway)
    search = types.GenerateContentConfig(tools=[types.Tool(google_search=types.GoogleSearch())])
    async with tenant.gemini(await tenant.open()).aio as client:
        with pytest.raises(errors.ClientError, match=r"tools\[0\].googleSearch") as refused:
            await client.models.generate_content(model="smart", contents="hello", config=search)
        with pytest.raises(errors.ClientError, match="belongs to everybody") as stored:
            await client.caches.get(name="cachedContents/x")
    assert (refused.value.code, refused.value.status) == (403, "PERMISSION_DENIED")
    assert stored.value.code == 404
    assert tenant.received == []


@pytest.mark.parametrize("usage", ["absent", "negative", "contradictory"])
async def test_usage_that_the_provider_does_not_say_is_charged_with_the_hold(gateway: Gateway, usage: str) -> None:
    tenant = await a_tenant(gateway, f"usage={usage}")
    config = types.GenerateContentConfig(max_output_tokens=50)
    async with tenant.gemini(await tenant.open()).aio as client:
        await client.models.generate_content(model="smart", contents="hello", config=config)
        async for _ in await client.models.generate_content_stream(model="smart", contents="hello", config=config):
            pass
    assert (await tenant.settled()).spent.output_tokens == 2 * 50
