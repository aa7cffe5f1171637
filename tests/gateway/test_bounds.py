"""Bounds hold before the call: what is held, what is clamped, who waits, and who is told what."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import httpx
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionMessageParam
from prometheus_client import REGISTRY

from ambit.api.base import ObjectKey
from ambit.api.model_route import Provider
from ambit.gateway import bounds
from ambit.gateway.models.wire_format import Billing, Call, TokenUsage
from ambit.ledger import wire
from ambit.ledger.amounts import Amount, Limit, Resource, Window
from ambit.policy import RouteBinding
from ambit.policy.price import Price
from tests.gateway import harness
from tests.gateway.harness import ORGANISATION, Gateway, Tenant, calls, error_body, tokens, usd

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]
in_module = pytest.mark.asyncio(loop_scope="module")


# -- pure -----------------------------------------------------------------------


PRICE = Price(1_000_000, 4_000_000, 100_000, 1_250_000)


def a_route(price: Price = PRICE, **limits: int) -> RouteBinding:
    standard = {"context_tokens": 100_000, "max_output_tokens": 8000, "prompt_overhead_tokens": 64, **limits}
    return RouteBinding(
        name="smart",
        route=ObjectKey("platform", "smart"),
        backend="only",
        provider=Provider.OPENAI,
        url="http://backend",
        model="m",
        credential=None,
        price=price,
        context_tokens=standard["context_tokens"],
        max_output_tokens=standard["max_output_tokens"],
        prompt_overhead_tokens=standard["prompt_overhead_tokens"],
    )


def a_call(prompt: int = 1000, asked: int | None = None, choices: int = 1, floor: int = 0) -> Call:
    return Call("smart", False, prompt, choices, asked, floor, False, {})


def test_input_is_held_at_its_dearest_price_with_the_servers_own_template() -> None:
    bounded = bounds.bound(a_call(prompt=1000, asked=100), a_route())
    assert bounded.want == Amount(
        usd_nanos=1064 * 1250 + 100 * 4000, tokens=1164, input_tokens=1064, output_tokens=100, model_calls=1
    )
    assert bounded.at_least == bounded.want


def test_input_is_at_most_the_context() -> None:
    assert bounds.bound(a_call(prompt=10_000_000, asked=1), a_route()).input_tokens == 100_000


def test_a_prompt_that_is_not_all_in_the_request_is_held_with_the_context() -> None:
    bounded = bounds.bound(replace(a_call(), prompt_tokens_bound=None), a_route(context_tokens=50_000))
    assert (bounded.input_tokens, bounded.output_tokens) == (50_000, 8000)


def test_several_prompts_may_fill_the_context_each() -> None:
    call = replace(a_call(prompt=1_000_000), prompts=3, billing=Billing.INPUT)
    bounded = bounds.bound(call, a_route(context_tokens=8000))
    assert bounded.want == bounded.at_least
    assert (bounded.want.input_tokens, bounded.want.output_tokens) == (24_000, 0)
    assert bounds.granted_output_tokens(call, a_route(), bounded, bounded.want) == 0
    short = bounds.bound(replace(call, prompt_tokens_bound=90), a_route(context_tokens=8000))
    assert short.input_tokens == 90 + 3 * 64  # each prompt has the server's own template around it


def test_what_is_free_is_held_as_a_call_and_nothing_else() -> None:
    call = replace(a_call(), billing=Billing.NOTHING)
    bounded = bounds.bound(call, a_route())
    assert bounded.want == bounded.at_least == Amount(model_calls=1)
    assert bounds.granted_output_tokens(call, a_route(), bounded, bounded.want) == 0


@pytest.mark.parametrize(
    ("asked", "want", "least"),
    [(None, 8000, 1024), (100, 100, 100), (3000, 3000, 1024), (64_000, 8000, 1024)],
)
def test_output_is_clamped_to_the_route_and_never_below_what_is_useful(
    asked: int | None, want: int, least: int
) -> None:
    bounded = bounds.bound(a_call(asked=asked), a_route())
    assert (bounded.output_tokens, bounded.least_output_tokens) == (want, least)


def test_an_open_limit_leaves_the_prompt_its_part_of_the_context() -> None:
    bounded = bounds.bound(a_call(prompt=9000), a_route(context_tokens=4096, max_output_tokens=4096))
    assert bounded.output_tokens == 4096 - 3000


def test_a_clamp_leaves_thinking_its_least_budget() -> None:
    assert bounds.bound(a_call(asked=16_000, floor=1025), a_route()).least_output_tokens == 1025


@given(
    st.integers(0, 100_000),
    st.integers(1, 100_000),
    st.integers(1, 8),
    st.tuples(*[st.integers(0, 10**9)] * 4),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_whatever_is_granted_covers_what_the_provider_may_bill(
    prompt: int,
    asked: int,
    choices: int,
    picos: tuple[int, int, int, int],
    of_usd: float,
    of_tokens: float,
    of_output: float,
) -> None:
    route = a_route(Price(*picos))
    call = a_call(prompt, asked, choices)
    bounded = bounds.bound(call, route)

    def between(least: int, most: int, part: float) -> int:
        return least + int((most - least) * part)

    granted = Amount(
        usd_nanos=between(bounded.at_least.usd_nanos, bounded.want.usd_nanos, of_usd),
        tokens=between(bounded.at_least.tokens, bounded.want.tokens, of_tokens),
        input_tokens=bounded.input_tokens,
        output_tokens=between(bounded.at_least.output_tokens, bounded.want.output_tokens, of_output),
        model_calls=1,
    )
    output = bounds.granted_output_tokens(call, route, bounded, granted)
    assert bounded.least_output_tokens <= output <= bounded.output_tokens
    for usage in (
        TokenUsage(bounded.input_tokens, 0, 0, choices * output),
        TokenUsage(0, bounded.input_tokens, 0, choices * output),
        TokenUsage(0, 0, bounded.input_tokens, choices * output),
    ):
        assert granted.covers(bounds.used(route, usage))


# -- through the gateway ----------------------------------------------------------


async def statuses(tenant: Tenant, token: str, count: int, model: str = "smart", **fields: object) -> list[int]:
    """The statuses of so many calls at once, sorted, without any SDK's own retries."""
    url = f"{tenant.gateway.sandbox_url}/openai/v1/chat/completions"
    body = {"model": model, "messages": HELLO, **fields}
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=60) as client:
        answers: Sequence[httpx.Response] = await asyncio.gather(*(client.post(url, json=body) for _ in range(count)))
    return sorted(answer.status_code for answer in answers)


@in_module
@pytest.mark.parametrize(
    ("limit", "admitted"),
    [
        (calls(7), 7),
        (tokens(7 * 105), 0),
        (tokens(800), None),
        (usd(800_000), None),
        (Limit(Window.WEEK, Resource.INPUT_TOKENS, 750), None),
        (Limit(Window.MONTH, Resource.OUTPUT_TOKENS, 7 * 5), 7),
    ],
    ids=["calls", "tokens that cover no bound", "tokens", "usd", "input tokens of a week", "output tokens of a month"],
)
async def test_of_many_calls_at_once_no_more_are_admitted_than_the_budget_has_room_for(
    gateway: Gateway, limit: Limit, admitted: int | None
) -> None:
    tenant = await gateway.tenant(limit, scripts={"smart": "tokens=5&input=100"})
    token = await tenant.open()
    prompt = 800 if admitted == 0 else 5
    answered = await statuses(tenant, token, 25, messages=[{"role": "user", "content": "x" * prompt}], max_tokens=5)
    usage = await tenant.settled(tenant.budget)
    [held] = usage.limits
    assert held.spent <= held.limit
    assert held.held == 0
    assert answered.count(200) == len(tenant.received) == usage.spent.model_calls
    assert set(answered) <= {200, 402}
    if admitted is not None:
        assert answered.count(200) == admitted
    else:  # as many as fit by what they really used, until the bound of the next has no room
        assert 1 <= answered.count(200) <= 7


@in_module
async def test_limits_of_the_organisation_hold_across_its_teams(gateway: Gateway) -> None:
    first, second = await gateway.tenant(), await gateway.tenant()
    shared = f"budget/{first.namespace}/shared"
    await gateway.operator.put_account(wire.PutAccount(shared, (calls(4),)))
    agents: list[tuple[Tenant, str]] = []
    for tenant in (first, second):
        team = f"budget/{tenant.namespace}/under-shared"
        await gateway.operator.put_account(wire.PutAccount(team, parent=shared))
        await gateway.operator.put_account(wire.PutAccount(f"agent/{tenant.namespace}/other", parent=team))
        agents.append((tenant, await tenant.open(name="s-9", parent=f"agent/{tenant.namespace}/other")))
    answered = await asyncio.gather(*(statuses(tenant, token, 6) for tenant, token in agents))
    assert sum(one.count(200) for one in answered) == 4
    assert (await gateway.ledger.usage(wire.GetUsage(shared))).spent.model_calls == 4


@in_module
async def test_a_call_is_clamped_to_what_is_left(gateway: Gateway) -> None:
    tenant = await gateway.tenant(tokens(2000), scripts={"smart": "tokens=5000&input=100"})
    async with tenant.openai(await tenant.open()) as client:
        answer = await client.chat.completions.create(model="smart", messages=HELLO, max_tokens=3500)
    sent = tenant.received[0].json["max_tokens"]
    assert 1024 <= sent < 2000
    assert answer.choices[0].finish_reason == "length"
    assert (await tenant.settled()).spent.tokens == 100 + sent


@in_module
async def test_a_call_is_clamped_to_the_output_that_is_left(gateway: Gateway) -> None:
    tenant = await gateway.tenant(
        Limit(Window.HOUR, Resource.OUTPUT_TOKENS, 1500), scripts={"smart": "tokens=5000&input=100"}
    )
    async with tenant.openai(await tenant.open()) as client:
        await client.chat.completions.create(model="smart", messages=HELLO, max_tokens=3500)
    assert tenant.received[0].json["max_tokens"] == 1500
    assert (await tenant.settled()).spent.output_tokens == 1500


@in_module
async def test_a_call_that_would_be_clamped_below_what_is_useful_is_402(gateway: Gateway) -> None:
    tenant = await gateway.tenant(tokens(1000))
    token = await tenant.open()
    assert await statuses(tenant, token, 1, max_tokens=3500) == [402]
    assert await statuses(tenant, token, 1, max_tokens=500) == [200]


@in_module
async def test_room_that_others_hold_is_waited_for_in_turn(gateway: Gateway) -> None:
    tenant = await gateway.tenant(tokens(1500), scripts={"slow": "tokens=5&input=100&frame_ms=20"})
    token = await tenant.open()
    # Each holds more than half of the limit while it runs, and uses little: together they fit one after the other.
    assert await statuses(tenant, token, 5, "slow", max_tokens=900) == [200] * 5


async def queued(count: int) -> None:
    """Waits until so many calls are in the gateway's queue."""
    while True:
        if REGISTRY.get_sample_value("ambit_gateway_queue") == count:
            return
        await asyncio.sleep(0.005)


@in_module
@pytest.mark.parametrize("under", ["an Agent", "a Budget"])
async def test_a_session_that_waits_for_its_own_room_delays_no_other(gateway: Gateway, under: str) -> None:
    scripts = {"endless": "tokens=9&hang_after=2", "smart": "tokens=5&input=100"}
    tenant = await gateway.tenant(scripts=scripts)
    parent = tenant.agent if under == "an Agent" else tenant.budget
    bounded = await tenant.open(tokens(1500), name="s-1", parent=parent)
    other = await tenant.open(name="s-2", parent=parent)
    async with tenant.openai(bounded) as client, asyncio.timeout(10):  # half of what a call waits at most
        holding = await client.chat.completions.create(model="endless", messages=HELLO, max_tokens=900, stream=True)
        await anext(aiter(holding))
        waiting = asyncio.ensure_future(statuses(tenant, bounded, 1, max_tokens=900))
        await queued(1)
        assert await statuses(tenant, other, 3, max_tokens=900) == [200] * 3
        assert not waiting.done()
        await gateway.ledger.kill(wire.Kill(path=tenant.session("s-1"), reason="the test is over", by="test"))
        assert await waiting == [402]


@in_module
async def test_a_call_that_its_own_bound_stops_once_the_budget_has_room_makes_way_for_others(gateway: Gateway) -> None:
    tenant = await gateway.tenant(tokens(1600), scripts={"silent": "hang_after=0", "smart": "tokens=5&input=100"})
    bounded, other = await tenant.open(tokens(1500), name="s-1"), await tenant.open(name="s-2")
    held, hold = Amount(tokens=900), f"held/{tenant.namespace}"
    reserved = await gateway.ledger.reserve(wire.Reserve(hold, tenant.session("s-2"), held, held, 60_000))
    assert isinstance(reserved, wire.Granted)
    both = asyncio.ensure_future(statuses(tenant, bounded, 2, "silent", max_tokens=900))
    await queued(2)
    async with asyncio.timeout(10):  # half of what a call waits at most
        await gateway.ledger.release(wire.Release(hold, "the others have waited"))
        await tenant.arrived(1)  # the first of the two is sent; the other is next, and waits for the first
        assert await statuses(tenant, other, 1, max_tokens=400) == [200]
        assert not both.done()
        await gateway.ledger.kill(wire.Kill(path=tenant.session("s-1"), reason="the test is over", by="test"))
        assert await both == [402, 402]


@in_module
async def test_a_kill_reaches_a_call_that_waits_behind_others_at_once(gateway: Gateway) -> None:
    tenant = await gateway.tenant(tokens(1600), scripts={"smart": "tokens=5&input=100"})
    first, killed = await tenant.open(name="s-1"), await tenant.open(name="s-2")
    held, hold = Amount(tokens=1000), f"held/{tenant.namespace}"
    reserved = await gateway.ledger.reserve(wire.Reserve(hold, tenant.session("s-1"), held, held, 60_000))
    assert isinstance(reserved, wire.Granted)
    ahead = asyncio.ensure_future(statuses(tenant, first, 1, max_tokens=900))
    await queued(1)
    behind = asyncio.ensure_future(statuses(tenant, killed, 1, max_tokens=900))
    await queued(2)
    await gateway.ledger.kill(wire.Kill(path=tenant.session("s-2"), reason="the test is over", by="test"))
    async with asyncio.timeout(10):  # half of what it would wait for those ahead
        assert await behind == [402]
    assert not ahead.done()
    await gateway.ledger.release(wire.Release(hold, "the test is over"))
    assert await ahead == [200]


async def test_a_full_minute_is_429_with_a_short_wait_and_not_final(tmp_path: Path) -> None:
    async with harness.running(tmp_path, queue_s=0.0) as gateway:  # or it might wait for the next
        tenant = await gateway.tenant()
        await gateway.operator.put_account(wire.PutAccount(tenant.budget, (calls(1, Window.MINUTE),), ORGANISATION))
        async with tenant.openai(await tenant.open(), max_retries=0) as client:

            async def until_it_is_refused() -> None:
                while True:  # a minute may begin between two
                    await client.chat.completions.create(model="smart", messages=HELLO)
                    await tenant.settled()

            with pytest.raises(openai.RateLimitError) as refused:
                await until_it_is_refused()
    headers = refused.value.response.headers
    assert 1 <= int(headers["retry-after"]) <= 30
    assert "x-should-retry" not in headers
    assert error_body(refused.value)["bound"] == "modelCalls per Minute"
    assert error_body(refused.value)["resetsAt"].endswith("Z")


@in_module
async def test_a_day_that_is_spent_says_when_it_ends(gateway: Gateway) -> None:
    tenant = await gateway.tenant(usd(1, Window.DAY))
    async with tenant.openai(await tenant.open()) as client:
        with pytest.raises(openai.APIStatusError) as refused:
            await client.chat.completions.create(model="smart", messages=HELLO)
    assert refused.value.status_code == 402
    assert error_body(refused.value)["bound"] == "usd per Day"
    assert error_body(refused.value)["limit"] == "0.000000001"
    assert error_body(refused.value)["resetsAt"].endswith("T00:00:00Z")
