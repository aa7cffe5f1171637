"""Twenty agents that each ask for 64,000 tokens of output share a budget worth four such calls: real ledger, scripted
provider.

The provider writes as fast as it can, and yet waits for the ledger wherever a real one would be slower than it: nothing
here depends on how fast the machine is.
"""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

import httpx
import msgspec
import pytest
import pytest_asyncio

from ambit.gateway import call_holds
from ambit.gateway.models.sse import EventSplitter, event_data
from ambit.ledger import wire
from ambit.ledger.amounts import Amount, Limit
from tests.gateway.harness import ORGANISATION, Gateway, Tenant, tokens

pytestmark = pytest.mark.asyncio(loop_scope="module")
HELLO = [{"role": "user", "content": "hello"}]
AGENTS = 20
ASKED = 64_000
USED = 4_000
INPUT = 100
FRAME = 200
SHOWN = {"onDisconnect": "Stops", "reasoning": "Shown"}
HIDDEN = {"onDisconnect": "Stops", "reasoning": "Hidden"}
WORTH_FOUR = 4 * (ASKED + 200)
"""Of tokens: 200 cover what is held for the input of `HELLO`."""


@dataclass
class Pace:
    """Has the provider write no further frame while the ledger is asked for a slice."""

    asked: int = 0
    answered: asyncio.Event = field(default_factory=asyncio.Event)

    async def before_frame(self) -> None:
        for _ in range(8):  # what was written is read, counted, and asked for
            await asyncio.sleep(0)
        while self.asked:
            self.answered.clear()
            await self.answered.wait()


@pytest_asyncio.fixture(loop_scope="module")
async def paced(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Gateway]:
    pace, extend = Pace(), gateway.ledger.extend

    async def extended(op: wire.Extend) -> wire.Granted | wire.Refused | wire.Wait:
        pace.asked += 1
        try:
            return await extend(op)
        finally:
            pace.asked -= 1
            pace.answered.set()

    monkeypatch.setattr(gateway.ledger, "extend", extended)
    monkeypatch.setattr(gateway.models, "before_frame", pace.before_frame)
    yield gateway


@dataclass(frozen=True)
class Answer:
    """What one agent got."""

    status: int
    finish: str | None = None
    whole: bool = False
    """Whether the stream ended as a stream of OpenAI's does."""
    reason: str | None = None


async def ask(tenant: Tenant, token: str, max_tokens: int = ASKED) -> Answer:
    """One streamed call, read as a client reads it, without an SDK's own retries."""
    body = {"model": "m", "messages": HELLO, "max_tokens": max_tokens, "stream": True}
    url = f"{tenant.gateway.sandbox_url}/openai/v1/chat/completions"
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx.AsyncClient(headers=headers, timeout=120) as client,
        client.stream("POST", url, json=body) as response,
    ):
        if response.status_code != 200:
            await response.aread()
            return Answer(response.status_code, reason=response.headers["x-ambit-reason"])
        splitter, finish, last = EventSplitter(), None, b""
        async for piece in response.aiter_raw():
            for event in splitter.feed(piece):
                last = event_data(event)
                if b'"finish_reason":null' not in last and last != b"[DONE]":
                    finish = msgspec.json.decode(last)["choices"][0]["finish_reason"]
        return Answer(200, finish, last == b"[DONE]")


async def agents(tenant: Tenant, count: int = AGENTS, first: int = 0) -> list[str]:
    """So many Agents under the tenant's Budget, a session each; their tokens."""
    return [await tenant.open(name=f"s-{first + number}") for number in range(count)]


async def done(tenant: Tenant, count: int, first: int = 0) -> None:
    """Ends sessions of agents. What is held ahead for their next calls would be room that others hold."""
    ledger = tenant.gateway.ledger
    for number in range(first, first + count):
        await ledger.kill(wire.Kill(tenant.session(f"s-{number}"), "it is done", "test"))
    while (await ledger.usage(wire.GetUsage(tenant.budget))).held != Amount():  # noqa: ASYNC110 -- there is no event
        await asyncio.sleep(0.01)


async def a_team(gateway: Gateway, output: int, terms: dict[str, str], limit: Limit | None = None) -> Tenant:
    return await gateway.tenant(
        limit or tokens(WORTH_FOUR),
        scripts={"m": f"tokens={output}&input={INPUT}&frame_tokens={FRAME}"},
        max_output_tokens="64k",
        context_tokens="200k",
        terms=terms,
    )


def served(tenant: Tenant) -> int:
    """The tokens that the provider has written, and what it read for them: what it bills."""
    return sum(INPUT + FRAME * one.frames_sent for one in tenant.received)


async def nothing_is_overspent(tenant: Tenant) -> wire.Usage:
    usage = await tenant.settled(tenant.budget)
    [limit] = usage.limits
    assert limit.spent <= limit.limit
    assert usage.overrun == Amount()
    assert usage.spent.model_calls == len(tenant.received)
    return usage


async def test_of_twenty_that_use_a_sixteenth_of_what_they_ask_for_none_is_refused(paced: Gateway) -> None:
    tenant = await a_team(paced, USED, SHOWN)
    answers = await asyncio.gather(*(ask(tenant, token) for token in await agents(tenant)))
    assert answers == [Answer(200, "stop", True)] * AGENTS
    usage = await nothing_is_overspent(tenant)
    assert usage.spent.tokens == AGENTS * (INPUT + USED)


async def test_of_twenty_that_use_all_they_ask_for_at_least_three_finish(paced: Gateway) -> None:
    tenant = await a_team(paced, ASKED, SHOWN)
    answers = await asyncio.gather(*(ask(tenant, token) for token in await agents(tenant)))
    finished = [answer for answer in answers if answer == Answer(200, "stop", True)]
    others = [answer for answer in answers if answer not in finished]
    assert len(finished) >= 3
    cut, refused = Answer(200, "length", True), Answer(402, reason="LimitExceeded")
    assert all(answer in (cut, refused) for answer in others), others
    usage = await nothing_is_overspent(tenant)
    assert usage.spent.tokens >= len(finished) * (INPUT + ASKED)


async def test_of_more_than_was_thought_the_streams_are_cut_cleanly_and_charged_for_all_that_was_written(
    paced: Gateway,
) -> None:
    """All calls before were short, so that many begin; then all are long."""
    tenant = await a_team(paced, ASKED, SHOWN)
    for token in await agents(tenant, 4):
        assert await ask(tenant, token, USED) == Answer(200, "length", True)
    tokens_of = await agents(tenant, first=4)
    answers = await asyncio.gather(*(ask(tenant, token) for token in tokens_of))
    finished, cut = Answer(200, "stop", True), Answer(200, "length", True)
    assert answers.count(finished) >= 3
    assert answers.count(cut) >= 1
    assert {answer.status for answer in answers if answer not in (finished, cut)} <= {402, 429}
    usage = await nothing_is_overspent(tenant)
    assert usage.spent.tokens >= served(tenant) > 0


async def test_whoever_was_cut_for_a_limit_is_refused_what_little_would_fit_until_there_is_more(
    paced: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_holds, "FINISH_AT_LEAST", 0)
    limit = 5 * USED + 50_000
    tenant = await a_team(paced, ASKED, SHOWN, tokens(limit))
    for token in await agents(tenant, 4):
        assert await ask(tenant, token, USED) == Answer(200, "length", True)
    await done(tenant, 4)
    token = await tenant.open(name="s-cut")
    assert await ask(tenant, token) == Answer(200, "length", True)
    usage = await nothing_is_overspent(tenant)
    assert usage.spent.tokens >= served(tenant)
    other = await tenant.open(name="s-other")
    few = max(16, limit - usage.spent.tokens - 200)
    assert await ask(tenant, token, few) == Answer(402, reason="LimitExceeded")
    assert limit - usage.spent.tokens < 216 or (await ask(tenant, other, few)).status == 200
    await paced.operator.put_account(wire.PutAccount(tenant.budget, (tokens(limit + 10_000),), ORGANISATION))
    while (await ask(tenant, token, few)).status != 200:
        pass  # until the ledger's word of it has come


async def test_a_call_for_which_there_never_will_be_room_is_limited_by_its_provider_and_not_cut(paced: Gateway) -> None:
    tenant = await a_team(paced, ASKED, SHOWN, tokens(100_000))
    for token in await agents(tenant, 4):
        assert await ask(tenant, token, USED) == Answer(200, "length", True)
    left = 100_000 - 4 * (INPUT + USED) - 200
    await done(tenant, 4)
    tokens_of = await agents(tenant, first=4, count=2)
    assert await ask(tenant, tokens_of[0]) == Answer(200, "stop", True)
    await done(tenant, 1, first=4)
    assert await ask(tenant, tokens_of[1]) == Answer(200, "length", True)
    assert left - ASKED - 200 <= tenant.received[-1].json["max_tokens"] <= left - ASKED
    await nothing_is_overspent(tenant)


async def test_calls_whose_reasoning_is_hidden_hold_their_bound_and_wait_their_turn(paced: Gateway) -> None:
    tenant = await a_team(paced, USED, HIDDEN)
    at_once: list[int] = []
    before_frame = paced.models.before_frame

    async def counting() -> None:
        under_way = sum(not one.answered for one in tenant.received)
        at_once.append(under_way)
        await before_frame()

    paced.models.before_frame = counting
    answers = await asyncio.gather(*(ask(tenant, token) for token in await agents(tenant)))
    assert answers == [Answer(200, "stop", True)] * AGENTS
    assert max(at_once) <= 4, "each holds a quarter of the budget"
    assert all(one.json["max_tokens"] == ASKED for one in tenant.received), "none was clamped"
    await nothing_is_overspent(tenant)


async def test_a_server_that_writes_on_when_it_is_cut_off_is_held_for_in_full(paced: Gateway) -> None:
    tenant = await a_team(paced, USED, {"reasoning": "Shown"}, tokens(2 * WORTH_FOUR))
    for token in await agents(tenant, 5):
        assert (await ask(tenant, token)).status == 200
    held: list[int] = []
    before_frame = paced.models.before_frame

    async def looking() -> None:
        held.append((await tenant.usage(tenant.budget)).held.tokens)
        await before_frame()

    paced.models.before_frame = looking
    await ask(tenant, await tenant.open(name="s-last"))
    assert min(held) >= ASKED
