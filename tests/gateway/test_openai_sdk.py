"""The unmodified `openai` SDK through the gateway: results unaltered, bounds enforced, refusals understood."""

import asyncio

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from ambit.ledger.amounts import Amount
from tests.gateway.harness import Gateway, calls, error_body

pytestmark = pytest.mark.asyncio(loop_scope="module")
HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]
FIVE_WORDS = "w0 w1 w2 w3 w4 "


async def test_a_call_comes_back_as_the_provider_wrote_it_and_is_charged_by_its_usage(gateway: Gateway) -> None:
    tenant = await gateway.tenant(scripts={"smart": "tokens=5&input=100&cached=40"})
    token = await tenant.open()
    async with tenant.openai(token) as client:
        answer = await client.chat.completions.create(model="smart", messages=HELLO)
    assert answer.choices[0].message.content == FIVE_WORDS
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (100, 5)
    usage = await tenant.settled()
    assert usage.spent == Amount(usd_nanos=105_000, tokens=105, input_tokens=100, output_tokens=5, model_calls=1)


async def test_the_provider_sees_its_own_key_and_model_and_nothing_of_the_session(gateway: Gateway) -> None:
    tenant = await gateway.tenant()
    token = await tenant.open()
    async with tenant.openai(token, organization="org-of-agent") as client:
        await client.chat.completions.create(model="smart", messages=HELLO, extra_headers={"x-ambit-session": "s-2"})
    [received] = tenant.received
    assert received.header("authorization") == "Bearer sk-provider-key"
    assert received.header("openai-organization") is None
    assert received.header("x-ambit-session") is None
    assert received.header("accept-encoding") == "identity"
    assert received.header("x-stainless-lang") == "python"
    assert received.json["messages"] == HELLO
    assert token not in f"{received.headers} {received.body!r}"


async def test_a_stream_passes_without_the_usage_that_only_the_gateway_asked_for(gateway: Gateway) -> None:
    tenant = await gateway.tenant()
    async with tenant.openai(await tenant.open()) as client:
        stream = await client.chat.completions.create(model="smart", messages=HELLO, stream=True)
        chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == FIVE_WORDS
    assert all(chunk.usage is None for chunk in chunks)
    assert tenant.received[0].json["stream_options"] == {"include_usage": True}
    assert (await tenant.settled()).spent.tokens == 105


async def test_a_stream_keeps_the_usage_that_the_client_asked_for(gateway: Gateway) -> None:
    tenant = await gateway.tenant()
    async with tenant.openai(await tenant.open()) as client:
        stream = await client.chat.completions.create(
            model="smart", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 105


async def test_the_synchronous_client_works_alike(gateway: Gateway) -> None:
    tenant = await gateway.tenant()
    token = await tenant.open()

    def in_a_thread() -> tuple[str | None, str]:
        with openai.OpenAI(api_key=token, base_url=f"{gateway.sandbox_url}/openai/v1") as client:
            whole = client.chat.completions.create(model="smart", messages=HELLO)
            stream = client.chat.completions.create(model="smart", messages=HELLO, stream=True)
            return whole.choices[0].message.content, "".join(c.choices[0].delta.content or "" for c in stream)

    assert await asyncio.to_thread(in_a_thread) == (FIVE_WORDS, FIVE_WORDS)
    assert (await tenant.settled()).spent.model_calls == 2


async def test_several_choices_are_bounded_and_charged_together(gateway: Gateway) -> None:
    tenant = await gateway.tenant()
    async with tenant.openai(await tenant.open()) as client:
        stream = await client.chat.completions.create(model="smart", messages=HELLO, stream=True, n=3)
        finished = [c.index async for chunk in stream for c in chunk.choices if c.finish_reason == "stop"]
    assert finished == [0, 1, 2]
    assert (await tenant.settled()).spent.tokens == 100 + 3 * 5


async def test_an_exhausted_bound_is_402_with_our_message_and_is_not_tried_again(gateway: Gateway) -> None:
    tenant = await gateway.tenant()
    async with tenant.openai(await tenant.open(calls(1))) as client:
        await client.chat.completions.create(model="smart", messages=HELLO)
        with pytest.raises(openai.APIStatusError) as refused:
            await client.chat.completions.create(model="smart", messages=HELLO)
    answer = refused.value
    assert answer.status_code == 402
    assert answer.response.headers["x-ambit-reason"] == "LimitExceeded"
    assert answer.response.headers["x-should-retry"] == "false"
    assert f"{tenant.session()} allows 1 modelCalls in its lifetime: 1 modelCalls spent" in str(answer)
    body = error_body(answer)
    assert body.pop("message") in str(answer)
    assert body == {
        "type": "billing_error",
        "param": None,
        "code": "LimitExceeded",
        "reason": "LimitExceeded",
        "bound": "modelCalls per Lifetime",
        "account": tenant.session(),
        "limit": "1",
        "spent": "1",
        "requested": "1",
        "resetsAt": None,
        "docs": "docs/errors.md#limitexceeded",
    }
    assert len(tenant.received) == 1


async def test_the_models_of_the_agent_are_listed(gateway: Gateway) -> None:
    tenant = await gateway.tenant(scripts={"smart": "", "small": ""})
    async with tenant.openai(await tenant.open()) as client:
        assert [model.id async for model in client.models.list()] == ["small", "smart"]
