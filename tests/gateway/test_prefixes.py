"""What a provider counted of a conversation bounds what it will count of its continuation: never too little, and about
four times less than its bytes.
"""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambit.gateway.models.anthropic_messages import AnthropicMessages
from ambit.gateway.models.gemini_generate import GeminiGenerate
from ambit.gateway.models.openai_chat import OpenAIChat
from ambit.gateway.models.openai_responses import OpenAIResponses
from ambit.gateway.models.wire_format import TOKENS_PER_MESSAGE, WireFormat
from ambit.gateway.prefixes import ENTRY_BYTES, Part, Prefixes, Prompt
from ambit.gateway.server.http import Request
from tests.gateway.harness import Gateway, tokens

OVERHEAD = 64
GEMINI_PATH = "/v1beta/models/m:streamGenerateContent"


def part(text: str) -> Part:
    return Part(text.encode(), len(text.encode()) + TOKENS_PER_MESSAGE)


def a_prompt(*texts: str, rest: bytes = b"{}") -> Prompt:
    return Prompt(rest, tuple(map(part, texts)))


def known(prefixes: Prefixes, prompt: Prompt, backend: str = "b") -> int | None:
    return prefixes.bound(backend, prompt, OVERHEAD)[1]


def counted(prefixes: Prefixes, prompt: Prompt, input_tokens: int, backend: str = "b") -> None:
    prefixes.note(prefixes.bound(backend, prompt, OVERHEAD)[0], input_tokens)


MESSAGE = st.tuples(
    st.text(max_size=40).map(lambda text: text * 8),
    st.just(1.0) | st.floats(0, 1),
    st.just(TOKENS_PER_MESSAGE) | st.integers(0, TOKENS_PER_MESSAGE),
)


@given(st.lists(MESSAGE, min_size=2, max_size=8), st.integers(0, OVERHEAD), st.sets(st.integers(0, 8)))
def test_no_tokenizer_of_bytes_bills_more_than_the_bound(
    messages: list[tuple[str, float, int]], template: int, unreported: set[int]
) -> None:
    """Each message is counted by a tokenizer that makes any part of its bytes tokens, all of them at the worst, and a
    template that puts something around it; some calls never say what they used."""
    prefixes = Prefixes()
    for end in range(1, len(messages) + 1):
        prompt = a_prompt(*(text for text, _, _ in messages[:end]))
        billed = template + sum(int(len(text.encode()) * share) + frame for text, share, frame in messages[:end])
        place, bound = prefixes.bound("b", prompt, 0)
        assert bound is None or bound >= billed
        if end not in unreported:
            prefixes.note(place, billed)


def test_what_was_appended_is_bounded_by_its_bytes_and_the_rest_by_what_was_counted() -> None:
    prefixes = Prefixes()
    counted(prefixes, a_prompt("first", "second"), 1_000)
    assert known(prefixes, a_prompt("first", "second", "third")) == 1_000 + 20 + 5 + TOKENS_PER_MESSAGE + OVERHEAD
    assert known(prefixes, a_prompt("first", "second")) == 1_000 + 20 + OVERHEAD


@pytest.mark.parametrize(
    ("prompt", "backend"),
    [
        (a_prompt("first", "secone", "third"), "b"),
        (a_prompt("firsts", "econd", "third"), "b"),
        (a_prompt("second", "first", "third"), "b"),
        (a_prompt("first"), "b"),
        (a_prompt("first", "second", "third", rest=b'{"tools":[]}'), "b"),
        (a_prompt("first", "second", "third"), "other backend"),
    ],
    ids=["one byte", "another cut", "another order", "shorter", "anything else", "backend"],
)
def test_whatever_differs_makes_the_bytes_count(prompt: Prompt, backend: str) -> None:
    prefixes = Prefixes()
    counted(prefixes, a_prompt("first", "second"), 1_000)
    assert known(prefixes, prompt, backend) is None


def test_the_longest_prefix_that_is_known_counts() -> None:
    prefixes = Prefixes()
    counted(prefixes, a_prompt("a"), 5_000)
    counted(prefixes, a_prompt("a", "b"), 100)
    assert known(prefixes, a_prompt("a", "b", "c")) == 100 + 2 + 1 + TOKENS_PER_MESSAGE + OVERHEAD


def test_memory_is_bounded_and_what_is_used_is_kept() -> None:
    prefixes = Prefixes(max_bytes=3 * ENTRY_BYTES)
    for number in range(3):
        counted(prefixes, a_prompt(f"conversation {number}"), 100)
    assert known(prefixes, a_prompt("conversation 0")) is not None
    counted(prefixes, a_prompt("conversation 3"), 100)
    assert known(prefixes, a_prompt("conversation 0")) is not None
    assert known(prefixes, a_prompt("conversation 1")) is None
    assert prefixes.used_bytes == 3 * ENTRY_BYTES


# -- how formats take a prompt apart ---------------------------------------------------
def said(role: str, text: str, mark: bool = False) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "text", "text": text}
    return {"role": role, "content": [block | {"cache_control": {"type": "ephemeral"}} if mark else block]}


def plain(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": text}


def of_gemini(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"text": text}]}


FORMATS: list[tuple[WireFormat, str, dict[str, Any], Any]] = [
    (OpenAIChat(), "messages", {"max_tokens": 5}, said),
    (OpenAIResponses(), "input", {"max_output_tokens": 500}, plain),
    (AnthropicMessages(), "messages", {"max_tokens": 5}, said),
    (GeminiGenerate("streamGenerateContent"), "contents", {"generationConfig": {"maxOutputTokens": 5}}, of_gemini),
]


def prompt_of(form: WireFormat, body: dict[str, Any]) -> Prompt:
    call = form.parse(Request("POST", GEMINI_PATH, (), msgspec.json.encode({"model": "m", **body})))
    assert call.prompt is not None
    return call.prompt()


@pytest.mark.parametrize(("form", "field", "limit", "say"), FORMATS, ids=["chat", "responses", "anthropic", "gemini"])
def test_each_format_knows_a_conversation_that_goes_on(
    form: WireFormat, field: str, limit: dict[str, Any], say: Any
) -> None:
    prefixes = Prefixes()
    before = [say("user", "What is it?"), say("assistant", "It is ä.")]
    counted(prefixes, prompt_of(form, {field: before, **limit}), 500)
    more = [*before, say("user", "Why?")]
    changed_limit = {name: {"maxOutputTokens": 9} if isinstance(value, dict) else 900 for name, value in limit.items()}
    bound = known(prefixes, prompt_of(form, {field: more, **changed_limit}))
    assert bound is not None
    assert 510 + OVERHEAD + len("Why?") <= bound <= 510 + OVERHEAD + 120
    assert known(prefixes, prompt_of(form, {field: more, **limit, "temperature": 0.5, "seed": 1})) is None
    assert known(prefixes, prompt_of(form, {field: [say("user", "What is it!"), *more[1:]], **limit})) is None


def test_marks_for_caching_that_move_change_nothing() -> None:
    prefixes, form = Prefixes(), AnthropicMessages()
    first = [said("user", "What?", mark=True)]
    second = [said("user", "What?"), said("assistant", "That."), said("user", "Why?", mark=True)]
    counted(prefixes, prompt_of(form, {"messages": first, "max_tokens": 5}), 500)
    assert known(prefixes, prompt_of(form, {"messages": second, "max_tokens": 5})) is not None


def test_an_image_that_is_appended_counts_with_all_it_may_be() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGVsbG8="}}
    body = {"messages": [{"role": "user", "content": [image]}], "max_tokens": 5}
    assert prompt_of(AnthropicMessages(), body).messages[0].tokens_bound > 4_784


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x"}}]}]},
        {"input": [{"role": "user", "content": "x"}], "previous_response_id": "r"},
    ],
)
def test_a_prompt_that_is_not_all_in_the_request_is_not_taken_apart(body: dict[str, Any]) -> None:
    form = OpenAIChat() if "messages" in body else OpenAIResponses()
    assert form.parse(Request("POST", "/", (), msgspec.json.encode({"model": "m", **body}))).prompt is None


# -- through the gateway -----------------------------------------------------------------
@pytest.mark.asyncio(loop_scope="module")
async def test_over_a_conversation_about_four_times_less_input_is_held(gateway: Gateway) -> None:
    """The scripted provider counts four bytes as a token, as ordinary text is."""
    tenant = await gateway.tenant(tokens(10_000_000), scripts={"smart": "tokens=20"})
    held: list[int] = []

    async def looking() -> None:
        if not held or len(tenant.received) > len(held):
            held.append((await tenant.usage(tenant.budget)).held.input_tokens)

    gateway.models.before_frame = looking
    messages: list[Any] = [{"role": "system", "content": "You are careful. " * 700}]
    sent_bytes: list[int] = []
    async with tenant.openai(await tenant.open()) as client:
        for turn in range(20):
            messages.append({"role": "user", "content": f"{turn}: " + "what next? " * 60})
            sent_bytes.append(len(msgspec.json.encode(messages)))
            stream = await client.chat.completions.create(model="smart", messages=messages, max_tokens=20, stream=True)
            text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
            messages.append({"role": "assistant", "content": text})
            await tenant.settled()
    usage = await tenant.settled()
    assert held[0] >= sent_bytes[0], "nothing was known yet"
    assert sum(sent_bytes[1:]) / sum(held[1:]) > 3.3
    assert sum(held) >= usage.spent.input_tokens
    assert usage.overrun.tokens == 0
