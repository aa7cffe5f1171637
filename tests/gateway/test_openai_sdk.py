"""The unmodified `openai` SDK through the gateway: results unaltered, bounds enforced, refusals understood."""

from pathlib import Path

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from ambit.ledger.amounts import Amount
from tests.gateway import harness

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]


async def test_a_call_comes_back_as_the_provider_wrote_it_and_is_charged_by_its_usage(tmp_path: Path) -> None:
    async with harness.running(tmp_path) as gateway:
        gateway.serve_models({"smart": "tokens=5&input=100&cached=40"})
        token = await gateway.open()
        async with gateway.openai(token) as client:
            answer = await client.chat.completions.create(model="smart", messages=HELLO)
        assert answer.choices[0].message.content == "w0 w1 w2 w3 w4 "
        assert answer.usage is not None
        assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (100, 5)
        usage = await gateway.settled()
        assert usage.spent == Amount(usd_nanos=105_000, tokens=105, model_calls=1)
        [received] = gateway.models.received
        assert received.header("authorization") == "Bearer sk-provider-key"
        assert received.json["model"].startswith("scripted?")
        assert token not in received.body.decode() + repr(received.headers)


async def test_a_stream_passes_and_the_usage_that_only_the_gateway_asked_for_does_not(tmp_path: Path) -> None:
    async with harness.running(tmp_path) as gateway:
        gateway.serve_models({"smart": "tokens=5&input=10"})
        token = await gateway.open()
        async with gateway.openai(token) as client:
            stream = await client.chat.completions.create(model="smart", messages=HELLO, stream=True)
            chunks = [chunk async for chunk in stream]
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "w0 w1 w2 w3 w4 "
        assert all(chunk.usage is None for chunk in chunks)
        assert gateway.models.received[0].json["stream_options"] == {"include_usage": True}
        assert (await gateway.settled()).spent.tokens == 15


async def test_an_exhausted_bound_is_402_with_our_message_and_is_not_tried_again(tmp_path: Path) -> None:
    async with harness.running(tmp_path) as gateway:
        gateway.serve_models({"smart": "tokens=5&input=10"})
        token = await gateway.open(harness.calls(1))
        async with gateway.openai(token) as client:
            await client.chat.completions.create(model="smart", messages=HELLO)
            with pytest.raises(openai.APIStatusError) as refused:
                await client.chat.completions.create(model="smart", messages=HELLO)
        assert refused.value.status_code == 402
        assert refused.value.response.headers["x-ambit-reason"] == "LimitExceeded"
        assert "session/team-a/s-1 allows 1 modelCalls" in str(refused.value)
        assert len(gateway.models.received) == 1
