"""OpenAI's embeddings: what each kind of input is bounded with, and the unmodified SDK through the gateway."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import openai
import pytest

from ambit.gateway.models.openai_embeddings import OpenAIEmbeddings
from ambit.gateway.models.wire_format import Billing, Call, RefusedCall
from ambit.gateway.server.http import Request
from ambit.ledger.amounts import Amount, Limit, Resource, Window
from tests.gateway.harness import Gateway, error_body
from tests.model_server.embeddings import VECTOR

WIRE = OpenAIEmbeddings()
in_module = pytest.mark.asyncio(loop_scope="module")


def parse(**fields: Any) -> Call:
    return WIRE.parse(Request("POST", "/", (), msgspec.json.encode({"model": "m", **fields})))


@pytest.mark.parametrize(
    ("given", "prompts", "at_least", "at_most"),
    [
        ("hello", 1, 5, 40),
        ("ü" * 100, 1, 200, 240),
        (["hello", "world"], 2, 10, 80),
        ([1, 2, 3], 1, 3, 3),
        ([[1, 2, 3], [4]], 2, 4, 4),
        (["hello", [1, 2]], 2, 7, 40),
    ],
)
def test_each_kind_of_input_is_bounded(given: Any, prompts: int, at_least: int, at_most: int) -> None:
    call = parse(input=given)
    assert (call.prompts, call.billing) == (prompts, Billing.INPUT)
    assert call.prompt_tokens_bound is not None
    assert at_least <= call.prompt_tokens_bound <= at_most


@pytest.mark.parametrize("given", [None, [], 7, {}, [None], [[]], [["a"]], [True], [-1], [1, "a", None], [[[1]]]])
def test_any_other_input_is_400(given: Any) -> None:
    with pytest.raises(RefusedCall) as refused:
        parse(input=given)
    assert refused.value.status == 400
    assert (refused.value.field or "").startswith("input")


def test_a_field_that_the_gateway_does_not_know_counts_as_prompt() -> None:
    plain, more = parse(input=[1]), parse(input=[1], new="x" * 100)
    assert plain.prompt_tokens_bound is not None
    assert more.prompt_tokens_bound == plain.prompt_tokens_bound + 102


@pytest.mark.parametrize("usage", [{"prompt_tokens": -1}, {"prompt_tokens": -1, "total_tokens": 5}, None])
def test_usage_that_cannot_be_is_unknown(usage: Any) -> None:
    meter = WIRE.meter(parse(input=[1]), event_stream=False)
    meter.feed(msgspec.json.encode({"usage": usage}))
    meter.end()
    assert meter.usage is None


@in_module
async def test_a_call_is_charged_for_its_input_alone(gateway: Gateway) -> None:
    price = {"input": "2", "output": "0"}
    tenant = await gateway.tenant(scripts={"embed": "input=7"}, price=price)
    async with tenant.openai(await tenant.open()) as client:
        answer = await client.embeddings.create(model="embed", input=["hello", "world"])
    assert tuple(answer.data[0].embedding) == VECTOR
    assert tenant.received[0].target == "/v1/embeddings"
    assert (await tenant.settled()).spent == Amount(usd_nanos=14_000, tokens=7, input_tokens=7, model_calls=1)


@in_module
async def test_the_synchronous_client_works_alike(gateway: Gateway) -> None:
    tenant = await gateway.tenant(scripts={"embed": "input=7"})
    token = await tenant.open()

    def in_a_thread() -> tuple[float, ...]:
        with openai.OpenAI(api_key=token, base_url=f"{gateway.sandbox_url}/openai/v1") as client:
            return tuple(client.embeddings.create(model="embed", input=[1, 2, 3]).data[0].embedding)

    assert await asyncio.to_thread(in_a_thread) == VECTOR


@in_module
async def test_many_inputs_in_one_call_are_held_together(gateway: Gateway) -> None:
    tenant = await gateway.tenant(
        Limit(Window.DAY, Resource.INPUT_TOKENS, 500), scripts={"embed": "input=7"}, context_tokens="300"
    )
    inputs: Sequence[str] = ["x" * 250, "y" * 250]  # each fits into the context; together they do not fit the limit
    async with tenant.openai(await tenant.open()) as client:
        with pytest.raises(openai.APIStatusError) as refused:
            await client.embeddings.create(model="embed", input=list(inputs))
        await client.embeddings.create(model="embed", input=inputs[0])
    assert refused.value.status_code == 402
    assert error_body(refused.value)["bound"] == "inputTokens per Day"
    assert len(tenant.received) == 1


@in_module
@pytest.mark.parametrize("usage", ["absent", "negative"])
async def test_usage_that_the_provider_does_not_say_is_charged_with_the_hold(gateway: Gateway, usage: str) -> None:
    tenant = await gateway.tenant(scripts={"embed": f"usage={usage}"}, overhead="64")
    async with tenant.openai(await tenant.open()) as client:
        await client.embeddings.create(model="embed", input=[1, 2, 3])
    assert (await tenant.settled()).spent.input_tokens == 3 + 64


@in_module
async def test_one_model_of_the_agent_is_described_and_no_other(gateway: Gateway) -> None:
    tenant = await gateway.tenant(scripts={"smart": "", "small": ""})
    async with tenant.openai(await tenant.open()) as client:
        assert (await client.models.retrieve("small")).id == "small"
        with pytest.raises(openai.PermissionDeniedError, match="not among this agent's models of this format"):
            await client.models.retrieve("dear")
