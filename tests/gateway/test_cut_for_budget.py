"""A stream that has used up what is held ends, for each provider's own SDK, as that provider ends one at its limit."""

from collections.abc import Awaitable, Callable

import httpx
import pytest
from google.genai import types as genai_types

from ambit.gateway import call_holds
from ambit.gateway.models.sse import EventSplitter
from ambit.gateway.progressive import TypicalOutput
from ambit.ledger.amounts import Amount
from tests.gateway.harness import Gateway, Tenant, tokens

pytestmark = pytest.mark.asyncio(loop_scope="module")
ASKED = 60_000
LIMIT = 12_000
"""More than the first slice, and less than the answer."""


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each stream begins with a small slice, as where all calls before were short."""

    def of(typical: TypicalOutput, kinds: object) -> int:
        return 4_096

    monkeypatch.setattr(TypicalOutput, "of", of)
    monkeypatch.setattr(call_holds, "FINISH_AT_LEAST", 0)


async def chat(tenant: Tenant, token: str) -> None:
    async with tenant.openai(token, max_retries=0) as client:
        stream = await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "hello"}], max_tokens=ASKED, stream=True
        )
        chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks).startswith("w0 w1 ")
    assert chunks[-1].choices[0].finish_reason == "length"


async def responses(tenant: Tenant, token: str) -> None:
    async with tenant.openai(token, max_retries=0) as client:
        stream = await client.responses.create(model="m", input="hello", max_output_tokens=ASKED, stream=True)
        events = [event async for event in stream]
    last = events[-1]
    assert last.type == "response.incomplete"
    assert last.response.incomplete_details is not None
    assert last.response.incomplete_details.reason == "max_output_tokens"
    assert last.response.output_text.startswith("w0 w1 ")
    assert [event.sequence_number for event in events] == list(range(len(events)))


async def anthropic(tenant: Tenant, token: str) -> None:
    async with (
        tenant.anthropic(token, max_retries=0) as client,
        client.messages.stream(model="m", messages=[{"role": "user", "content": "hello"}], max_tokens=ASKED) as stream,
    ):
        message = await stream.get_final_message()
    assert message.stop_reason == "max_tokens"
    assert message.content[0].type == "text"
    assert message.content[0].text.startswith("w0 w1 ")


async def gemini(tenant: Tenant, token: str) -> None:
    config = genai_types.GenerateContentConfig(max_output_tokens=ASKED)
    ask = tenant.gemini(token).aio.models.generate_content_stream  # type: ignore[reportUnknownMemberType] -- PIL's types
    stream = await ask(model="m", contents="hello", config=config)
    answers = [answer async for answer in stream]
    assert (answers[0].text or "").startswith("w0 w1 ")
    assert answers[-1].candidates is not None
    assert answers[-1].candidates[0].finish_reason is genai_types.FinishReason.MAX_TOKENS


async def gemini_array(tenant: Tenant, token: str) -> None:
    url = f"{tenant.gateway.sandbox_url}/gemini/v1beta/models/m:streamGenerateContent"
    body = {"contents": [{"parts": [{"text": "hello"}]}], "generationConfig": {"maxOutputTokens": ASKED}}
    async with httpx.AsyncClient(headers={"x-goog-api-key": token}, timeout=60) as client:
        answer = await client.post(url, json=body)
    assert answer.json()[-1]["candidates"][0]["finishReason"] == "MAX_TOKENS"


async def no_comments_in_gemini(tenant: Tenant, token: str) -> None:
    url = f"{tenant.gateway.sandbox_url}/gemini/v1beta/models/m:streamGenerateContent?alt=sse"
    body = {"contents": [{"parts": [{"text": "hello"}]}], "generationConfig": {"maxOutputTokens": ASKED}}
    async with httpx.AsyncClient(headers={"x-goog-api-key": token}, timeout=60) as client:
        answer = await client.post(url, json=body)
    events = EventSplitter().feed(answer.content)
    assert b"MAX_TOKENS" in events[-1]
    assert b"".join(events) == answer.content
    assert all(event.startswith(b"data: {") for event in events)


SURFACES: list[tuple[str, Callable[[Tenant, str], Awaitable[None]]]] = [
    ("OpenAI", chat),
    ("OpenAI", responses),
    ("Anthropic", anthropic),
    ("Gemini", gemini),
    ("Gemini", gemini_array),
    ("Gemini", no_comments_in_gemini),
]


@pytest.mark.parametrize(("provider", "ask"), SURFACES, ids=[ask.__name__ for _, ask in SURFACES])
async def test_every_surface_has_its_own_clean_ending_and_its_provider_is_cut_off(
    gateway: Gateway, provider: str, ask: Callable[[Tenant, str], Awaitable[None]]
) -> None:
    tenant = await gateway.tenant(
        tokens(LIMIT),
        scripts={"m": f"tokens={ASKED}&input=20&frame_tokens=40&frame_ms=1"},
        provider=provider,
        max_output_tokens="60k",
        context_tokens="200k",
        terms={"onDisconnect": "Stops", "reasoning": "Shown"},
    )
    await ask(tenant, await tenant.open())
    [received] = tenant.received
    await received.gone.wait()
    usage = await tenant.settled(tenant.budget)
    assert usage.limits[0].spent <= LIMIT
    assert usage.overrun == Amount()
    assert usage.spent.tokens >= 20 + 40 * received.frames_sent
