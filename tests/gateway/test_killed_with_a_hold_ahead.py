"""A session that is killed while its next call is held already: that hold admits nothing."""

import asyncio

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from ambit.ledger import wire
from ambit.ledger.amounts import Amount
from tests.gateway.harness import Gateway, Tenant

pytestmark = pytest.mark.asyncio(loop_scope="module")
HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]
TAKES_EFFECT_S = 0.1
"""Rule 8 of docs/ledger.md: how long a kill may take to reach a gateway that is connected."""


async def held_ahead(tenant: Tenant) -> wire.HoldView:
    """The session's hold for its next call, once it is there."""
    while True:
        for hold in (await tenant.usage()).holds:
            if hold.speculative:
                return hold
        await asyncio.sleep(0.005)


async def test_a_sessions_next_call_is_held_before_it_is_made_and_uses_that_hold(gateway: Gateway) -> None:
    tenant = await gateway.tenant()
    async with tenant.openai(await tenant.open()) as client:
        await client.chat.completions.create(model="smart", messages=HELLO, max_tokens=50)
        first = await held_ahead(tenant)
        await client.chat.completions.create(model="smart", messages=HELLO, max_tokens=50)
        second = await held_ahead(tenant)
    assert first.id != second.id
    usage = await tenant.usage()
    assert [hold.id for hold in usage.holds] == [second.id], "the first was used and settled"
    assert usage.spent.model_calls == 2


async def test_a_killed_sessions_hold_ahead_admits_no_call(gateway: Gateway) -> None:
    tenant = await gateway.tenant()
    async with tenant.openai(await tenant.open(), max_retries=0) as client:
        await client.chat.completions.create(model="smart", messages=HELLO, max_tokens=50)
        await held_ahead(tenant)
        spent = (await tenant.usage()).spent
        await gateway.operator.kill(wire.Kill(tenant.session(), "enough", "ada"))
        await asyncio.sleep(TAKES_EFFECT_S)
        with pytest.raises(openai.APIStatusError) as refused:
            await client.chat.completions.create(model="smart", messages=HELLO, max_tokens=50)
    assert refused.value.status_code == 402
    assert refused.value.response.headers["x-ambit-reason"] == "SessionEnded"
    assert len(tenant.received) == 1
    usage = await tenant.settled()
    assert (usage.spent, usage.held) == (spent, Amount()), "what was held ahead is given back, and not charged"
