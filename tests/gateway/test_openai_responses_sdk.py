"""The unmodified `openai` SDK's Responses through the gateway: answers, streams, cuts, refusals."""

import asyncio
from typing import Any

import httpx
import openai
import pytest
from openai.types.responses import ResponseCreatedEvent, ResponseIncompleteEvent

from ambit.ledger import wire
from ambit.ledger.amounts import Amount
from tests.gateway.harness import Gateway, calls, error_body, tokens

pytestmark = pytest.mark.asyncio(loop_scope="module")
FIVE_WORDS = "w0 w1 w2 w3 w4 "


async def test_a_call_comes_back_as_the_provider_wrote_it_and_is_charged_by_its_usage(gateway: Gateway) -> None:
    tenant = await gateway.tenant(scripts={"smart": "tokens=5&input=100&cached=40"})
    async with tenant.openai(await tenant.open()) as client:
        answer = await client.responses.create(model="smart", input="hello")
    assert (answer.output_text, answer.status) == (FIVE_WORDS, "completed")
    [received] = tenant.received
    assert received.target == "/v1/responses"
    assert received.header("authorization") == "Bearer sk-provider-key"
    assert received.json["max_output_tokens"] == 4000  # the route's: what the model writes unasked is bounded, too
    usage = await tenant.settled()
    assert usage.spent == Amount(usd_nanos=105_000, tokens=105, input_tokens=100, output_tokens=5, model_calls=1)


async def test_a_stream_passes_unaltered_under_one_id(gateway: Gateway) -> None:
    tenant = await gateway.tenant()
    async with (
        tenant.openai(await tenant.open()) as client,
        client.responses.stream(model="smart", input="hello") as stream,
    ):
        events = [event async for event in stream]
        final = await stream.get_final_response()
    assert final.output_text == FIVE_WORDS
    assert isinstance(events[0], ResponseCreatedEvent)
    assert events[0].response.id == final.id == "resp_scripted"
    assert (await tenant.settled()).spent.tokens == 105


async def test_the_synchronous_client_works_alike(gateway: Gateway) -> None:
    tenant = await gateway.tenant()
    token = await tenant.open()

    def in_a_thread() -> tuple[str, str]:
        with openai.OpenAI(api_key=token, base_url=f"{gateway.sandbox_url}/openai/v1") as client:
            whole = client.responses.create(model="smart", input="hello")
            with client.responses.stream(model="smart", input="hello") as stream:
                return whole.output_text, stream.get_final_response().output_text

    assert await asyncio.to_thread(in_a_thread) == (FIVE_WORDS, FIVE_WORDS)
    assert (await tenant.settled()).spent.model_calls == 2


async def test_a_kill_ends_a_stream_with_what_was_written_so_far(gateway: Gateway) -> None:
    tenant = await gateway.tenant(scripts={"endless": "tokens=9&hang_after=3"})
    async with (
        tenant.openai(await tenant.open()) as client,
        client.responses.stream(model="endless", input="hello", max_output_tokens=50) as stream,
    ):
        text = ""
        async for event in stream:
            if event.type == "response.output_text.delta":
                text += event.delta
            if text == "w0 w1 w2 ":
                break
        await gateway.ledger.kill(wire.Kill(path=tenant.agent, reason="enough", by="test"))
        rest = [event async for event in stream]
    assert [event.type for event in rest] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.incomplete",
    ]
    last = rest[-1]
    assert isinstance(last, ResponseIncompleteEvent)
    assert last.response.id == "resp_scripted"
    assert last.response.output_text == text
    assert last.response.incomplete_details is not None
    assert last.response.incomplete_details.reason == "max_output_tokens"
    usage = await tenant.settled()
    assert usage.spent.tokens > 50  # the hold: what the provider billed is not known


async def test_a_call_is_clamped_to_what_is_left_and_says_so(gateway: Gateway) -> None:
    tenant = await gateway.tenant(tokens(2000), scripts={"smart": "tokens=5000&input=100"})
    async with tenant.openai(await tenant.open()) as client:
        answer = await client.responses.create(model="smart", input="hello", max_output_tokens=3500)
    sent = tenant.received[0].json["max_output_tokens"]
    assert 1024 <= sent < 2000
    assert answer.status == "incomplete"
    assert (await tenant.settled()).spent.tokens == 100 + sent


async def test_what_the_provider_has_stored_is_held_with_the_whole_context(gateway: Gateway) -> None:
    tenant = await gateway.tenant(scripts={"silent": "hang_after=0"}, context_tokens="50k", max_output_tokens="2k")
    async with tenant.openai(await tenant.open()) as client:
        call = asyncio.ensure_future(
            client.responses.create(model="silent", input="hello", previous_response_id="resp_1", max_output_tokens=100)
        )
        await tenant.arrived(1)
        held = (await tenant.usage()).held
        call.cancel()
    assert (held.input_tokens, held.output_tokens) == (50_000, 100)
    assert tenant.received[0].json["previous_response_id"] == "resp_1"


async def test_usage_that_the_provider_does_not_say_is_charged_with_the_hold(gateway: Gateway) -> None:
    tenant = await gateway.tenant(scripts={"absent": "usage=absent", "contradictory": "usage=contradictory"})
    async with tenant.openai(await tenant.open()) as client:
        for number, model in enumerate(("absent", "contradictory"), start=1):
            await client.responses.create(model=model, input="hello", max_output_tokens=50)
            stream = await client.responses.create(model=model, input="hello", max_output_tokens=50, stream=True)
            assert [event async for event in stream]
            assert (await tenant.settled()).spent.output_tokens == number * 2 * 50


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"background": True}, "background"),
    ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
    ({"service_tier": "priority"}, "service_tier"),
]


@pytest.mark.parametrize(("fields", "blamed"), REFUSED)
async def test_what_cannot_be_bounded_is_403_and_final(gateway: Gateway, fields: dict[str, Any], blamed: str) -> None:
    tenant = await gateway.tenant()
    async with tenant.openai(await tenant.open()) as client:
        with pytest.raises(openai.PermissionDeniedError) as refused:
            await client.responses.create(model="smart", input="hello", **fields)
    assert error_body(refused.value)["param"] == blamed
    assert refused.value.response.headers["x-should-retry"] == "false"
    assert tenant.received == []


async def test_an_exhausted_bound_is_402_with_our_message_and_is_not_tried_again(gateway: Gateway) -> None:
    tenant = await gateway.tenant()
    async with tenant.openai(await tenant.open(calls(1))) as client:
        await client.responses.create(model="smart", input="hello")
        with pytest.raises(openai.APIStatusError) as refused:
            await client.responses.create(model="smart", input="hello", stream=True)
    assert refused.value.status_code == 402
    assert error_body(refused.value)["bound"] == "modelCalls per Lifetime"
    assert len(tenant.received) == 1


async def test_stored_responses_are_refused_by_name(gateway: Gateway) -> None:
    tenant = await gateway.tenant()
    async with tenant.openai(await tenant.open()) as client:
        for path in (
            client.responses.retrieve("resp_1"),
            client.responses.delete("resp_1"),
            client.responses.cancel("resp_1"),
            client.responses.compact(model="smart", input="hello"),
        ):
            with pytest.raises(openai.NotFoundError, match=r"/openai/v1/responses/.* is not served: a response that"):
                await path
        with pytest.raises(openai.NotFoundError, match="input_items is not served"):
            await client.responses.input_items.list("resp_1")
    assert tenant.received == []


async def test_a_field_that_the_gateway_does_not_know_reaches_the_provider(gateway: Gateway) -> None:
    tenant = await gateway.tenant()
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {await tenant.open()}"}) as client:
        body = {"model": "smart", "input": "hello", "new_in_2027": {"a": [1]}}
        answer = await client.post(f"{gateway.sandbox_url}/openai/v1/responses", json=body)
    assert answer.status_code == 200
    assert tenant.received[0].json["new_in_2027"] == {"a": [1]}
