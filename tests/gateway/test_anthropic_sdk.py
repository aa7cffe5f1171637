"""The unmodified `anthropic` SDK through the gateway."""

import asyncio

import anthropic
import pytest
from anthropic.types import MessageParam

from ambit.ledger.amounts import Amount
from tests.gateway.harness import Gateway, Tenant, calls, error_body

pytestmark = pytest.mark.asyncio(loop_scope="module")
HELLO: list[MessageParam] = [{"role": "user", "content": "hello"}]
FIVE_WORDS = "w0 w1 w2 w3 w4 "
CACHING = "tokens=5&input=100&cached=40&cache_write=20"
PRICE = {"input": "3", "output": "15", "cacheRead": "0.30", "cacheWrite": "3.75"}
COST_NANOS = 40 * 3000 + 40 * 300 + 20 * 3750 + 5 * 15000


async def a_tenant(gateway: Gateway, script: str = CACHING) -> Tenant:
    return await gateway.tenant(scripts={"smart": script}, provider="Anthropic", price=PRICE)


async def test_a_call_is_charged_with_what_was_read_from_and_written_to_the_cache(gateway: Gateway) -> None:
    tenant = await a_tenant(gateway)
    token = await tenant.open()
    async with tenant.anthropic(token) as client:
        answer = await client.messages.create(model="smart", messages=HELLO, max_tokens=100)
    assert answer.content[0].type == "text"
    assert answer.content[0].text == FIVE_WORDS
    assert answer.usage.input_tokens == 40
    assert (await tenant.settled()).spent == Amount(
        usd_nanos=COST_NANOS, tokens=105, input_tokens=100, output_tokens=5, model_calls=1
    )
    [received] = tenant.received
    assert received.header("x-api-key") == "sk-provider-key"
    assert received.header("authorization") is None
    assert token not in f"{received.headers} {received.body!r}"


async def test_a_stream_passes_and_its_last_count_holds(gateway: Gateway) -> None:
    tenant = await a_tenant(gateway)
    async with (
        tenant.anthropic(await tenant.open()) as client,
        client.messages.stream(model="smart", messages=HELLO, max_tokens=100) as stream,
    ):
        text = "".join([piece async for piece in stream.text_stream])
        final = await stream.get_final_message()
    assert text == FIVE_WORDS
    assert (final.stop_reason, final.usage.output_tokens) == ("end_turn", 5)
    assert (await tenant.settled()).spent == Amount(
        usd_nanos=COST_NANOS, tokens=105, input_tokens=100, output_tokens=5, model_calls=1
    )


async def test_the_synchronous_client_works_alike(gateway: Gateway) -> None:
    tenant = await a_tenant(gateway)
    token = await tenant.open()

    def in_a_thread() -> tuple[int, str]:
        with anthropic.Anthropic(api_key=token, base_url=f"{gateway.sandbox_url}/anthropic") as client:
            whole = client.messages.create(model="smart", messages=HELLO, max_tokens=100)
            with client.messages.stream(model="smart", messages=HELLO, max_tokens=100) as stream:
                return whole.usage.output_tokens, "".join(stream.text_stream)

    assert await asyncio.to_thread(in_a_thread) == (5, FIVE_WORDS)


async def test_an_exhausted_bound_is_402_with_our_message_and_is_not_tried_again(gateway: Gateway) -> None:
    tenant = await a_tenant(gateway)
    async with tenant.anthropic(await tenant.open(calls(1))) as client:
        await client.messages.create(model="smart", messages=HELLO, max_tokens=100)
        with pytest.raises(anthropic.APIStatusError) as refused:
            await client.messages.create(model="smart", messages=HELLO, max_tokens=100)
    answer = refused.value
    assert answer.status_code == 402
    assert answer.response.headers["x-should-retry"] == "false"
    assert f"{tenant.session()} allows 1 modelCalls in its lifetime: 1 modelCalls spent" in str(answer)
    body = error_body(answer)
    assert body["type"] == "error"
    assert body["error"]["type"] == "billing_error"
    assert body["error"]["bound"] == "modelCalls per Lifetime"
    assert len(tenant.received) == 1


async def test_thinking_keeps_the_providers_rules_when_it_is_clamped(gateway: Gateway) -> None:
    tenant = await gateway.tenant(
        scripts={"smart": "tokens=5"}, provider="Anthropic", max_output_tokens="2k", price=PRICE
    )
    async with tenant.anthropic(await tenant.open()) as client:
        await client.messages.create(
            model="smart", messages=HELLO, max_tokens=16_000, thinking={"type": "enabled", "budget_tokens": 8000}
        )
    sent = tenant.received[0].json
    assert (sent["max_tokens"], sent["thinking"]["budget_tokens"]) == (2000, 1999)


async def test_tokens_are_counted_as_a_call_without_charge(gateway: Gateway) -> None:
    tenant = await gateway.tenant(scripts={"smart": "input=2095"}, provider="Anthropic", price=PRICE)
    async with tenant.anthropic(await tenant.open(calls(2))) as client:
        counted = await client.messages.count_tokens(model="smart", messages=HELLO)
        await client.messages.count_tokens(model="smart", messages=HELLO, extra_query={"beta": "true"})
        assert (await tenant.settled()).spent == Amount(model_calls=2)
        with pytest.raises(anthropic.APIStatusError) as refused:
            await client.messages.count_tokens(model="smart", messages=HELLO)
    assert counted.input_tokens == 2095
    assert [one.target for one in tenant.received] == [
        "/v1/messages/count_tokens",
        "/v1/messages/count_tokens?beta=true",
    ]
    assert tenant.received[0].json["model"].startswith("scripted?")
    assert refused.value.status_code == 402


async def test_cache_writes_of_an_hour_are_charged_at_their_own_price(gateway: Gateway) -> None:
    tenant = await gateway.tenant(
        scripts={"smart": "tokens=5&input=100&cache_write=30&cache_write_1h=20"},
        provider="Anthropic",
        price={**PRICE, "cacheWriteHour": "6"},
    )
    async with tenant.anthropic(await tenant.open()) as client:
        answer = await client.messages.create(
            model="smart", messages=HELLO, max_tokens=100, cache_control={"type": "ephemeral", "ttl": "1h"}
        )
        assert answer.usage.cache_creation is not None
        cost_nanos = 70 * 3000 + 10 * 3750 + 20 * 6000 + 5 * 15_000
        assert (await tenant.settled()).spent.usd_nanos == cost_nanos
        stream = await client.messages.create(
            model="smart", messages=HELLO, max_tokens=100, stream=True, cache_control={"type": "ephemeral", "ttl": "1h"}
        )
        assert [event async for event in stream]
        assert (await tenant.settled()).spent.usd_nanos == 2 * cost_nanos


async def test_cache_writes_of_an_hour_without_a_price_are_refused(gateway: Gateway) -> None:
    tenant = await a_tenant(gateway)
    async with tenant.anthropic(await tenant.open()) as client:
        with pytest.raises(anthropic.PermissionDeniedError, match="states no price for it"):
            await client.messages.create(
                model="smart", messages=HELLO, max_tokens=100, cache_control={"type": "ephemeral", "ttl": "1h"}
            )
    assert tenant.received == []


async def test_one_model_of_the_agent_is_described_and_no_other(gateway: Gateway) -> None:
    tenant = await a_tenant(gateway)
    async with tenant.anthropic(await tenant.open()) as client:
        assert (await client.models.retrieve("smart")).id == "smart"
        with pytest.raises(anthropic.PermissionDeniedError, match="not among this agent's models of this format"):
            await client.models.retrieve("dear")
        with pytest.raises(anthropic.NotFoundError, match="a batch runs when nobody holds room for it"):
            await client.messages.batches.list()


async def test_the_models_of_the_agent_are_listed(gateway: Gateway) -> None:
    tenant = await a_tenant(gateway)
    async with tenant.anthropic(await tenant.open()) as client:
        assert [model.id async for model in client.models.list()] == ["smart"]
