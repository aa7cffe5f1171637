"""What a stream has shown bounds what its provider bills for it: in every format, in any pieces, for any tokenizer of
bytes.
"""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambit.gateway.models.anthropic_messages import AnthropicMessages
from ambit.gateway.models.gemini_generate import GeminiGenerate
from ambit.gateway.models.openai_chat import OpenAIChat
from ambit.gateway.models.openai_responses import OpenAIResponses
from ambit.gateway.models.output_bytes import STRUCTURE_TOKENS, written
from ambit.gateway.models.wire_format import Call, Meter, WireFormat
from ambit.gateway.server.http import Request

TEXTS = st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=8)


def a_call(choices: int = 1) -> Call:
    return Call("m", True, 10, choices, None, 0, False, {})


def sse(data: Any, name: str | None = None) -> bytes:
    head = b"" if name is None else b"event: %b\n" % name.encode()
    return head + b"data: " + msgspec.json.encode(data) + b"\n\n"


def openai(texts: list[str]) -> list[bytes]:
    return [sse({"choices": [{"index": 0, "delta": {"role": "assistant", "content": text}}]}) for text in texts]


def openai_tools(texts: list[str]) -> list[bytes]:
    begun = {"index": 0, "id": "call_1", "type": "function", "function": {"name": texts[0], "arguments": ""}}
    more = [{"index": 0, "function": {"arguments": text}} for text in texts[1:]]
    return [sse({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}) for call in (begun, *more)]


def openai_reasoning(texts: list[str]) -> list[bytes]:
    return [sse({"choices": [{"index": 0, "delta": {"reasoning_content": text}}]}) for text in texts]


def responses(texts: list[str]) -> list[bytes]:
    item = {"id": "i", "type": "message"}
    added = sse({"type": "response.output_item.added", "output_index": 0, "item": item})
    return [added, *(sse({"type": "response.output_text.delta", "output_index": 0, "delta": text}) for text in texts)]


def responses_whole(texts: list[str]) -> list[bytes]:
    item = {"id": "i", "type": "function_call", "name": "f", "arguments": "".join(texts)}
    return [
        sse({"type": "response.output_item.added", "output_index": 0, "item": {"id": "i"}}),
        sse({"type": "response.output_item.done", "output_index": 0, "item": item}),
    ]


def anthropic(texts: list[str]) -> list[bytes]:
    block = {"type": "text", "text": ""}
    return [
        sse({"type": "content_block_start", "index": 0, "content_block": block}, "content_block_start"),
        *(
            sse(
                {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}},
                "content_block_delta",
            )
            for text in texts
        ),
    ]


def gemini(texts: list[str]) -> list[bytes]:
    return [sse({"candidates": [{"index": 0, "content": {"parts": [{"text": text}]}}]}) for text in texts]


def gemini_tools(texts: list[str]) -> list[bytes]:
    arguments = {f"a{index}": text for index, text in enumerate(texts)}
    part = {"functionCall": {"name": "f", "args": arguments}}
    return [sse({"candidates": [{"index": 0, "content": {"parts": [part]}}]})]


CASES: list[tuple[WireFormat, Callable[[list[str]], list[bytes]]]] = [
    *((OpenAIChat(), stream) for stream in (openai, openai_tools, openai_reasoning)),
    *((OpenAIResponses(), stream) for stream in (responses, responses_whole)),
    (AnthropicMessages(), anthropic),
    *((GeminiGenerate("streamGenerateContent"), stream) for stream in (gemini, gemini_tools)),
]


@pytest.mark.parametrize(("form", "stream"), CASES, ids=[stream.__name__ for _, stream in CASES])
@given(texts=TEXTS, cut=st.integers(1, 200))
def test_each_byte_that_was_shown_may_be_a_token(
    form: WireFormat, stream: Callable[[list[str]], list[bytes]], texts: list[str], cut: int
) -> None:
    meter = form.meter(a_call(), True)
    whole = b"".join(stream(texts))
    for at in range(0, len(whole), cut):
        meter.feed(whole[at : at + cut])
    least = sum(len(text.encode()) for text in texts)
    bound = meter.output_bound
    assert bound is not None
    assert bound >= least, "a tokenizer of single bytes would have billed more"
    overhead = STRUCTURE_TOKENS * 4 + 40 * len(texts) + 2 * least
    assert bound <= least + overhead, "what is shown twice, or is no output, counts"


def test_no_more_counts_than_what_the_model_writes() -> None:
    delta = {"role": "assistant", "content": "äb", "refusal": None, "index": 0}
    assert written(delta) == 3


@pytest.mark.parametrize("form", [OpenAIChat(), OpenAIResponses(), AnthropicMessages()])
def test_what_cannot_be_read_counts_with_all_its_bytes(form: WireFormat) -> None:
    meter: Meter = form.meter(a_call(), True)
    before = meter.output_bound
    meter.feed(b"event: content_block_start\ndata: {" + b"x" * 500 + b"\n\n")
    assert before is not None
    assert meter.output_bound == before + 501


def test_every_choice_has_an_end_that_is_billed() -> None:
    assert OpenAIChat().meter(a_call(choices=3), True).output_bound == 3 * STRUCTURE_TOKENS


def test_of_a_document_nothing_is_seen_before_it_is_there() -> None:
    assert OpenAIChat().meter(a_call(), False).output_bound is None


def hides(form: WireFormat, path: str = "/", **fields: Any) -> bool:
    return form.parse(Request("POST", path, (), msgspec.json.encode({"model": "m", **fields}))).hides_output


def test_a_request_says_whether_reasoning_may_be_hidden() -> None:
    chat: dict[str, Any] = {"messages": [{"role": "user", "content": "x"}]}
    assert hides(OpenAIChat(), **chat)
    assert hides(OpenAIChat(), **chat, reasoning_effort="low")
    assert not hides(OpenAIChat(), **chat, reasoning_effort="none")
    assert hides(OpenAIResponses(), input="x")
    assert hides(OpenAIResponses(), input="x", reasoning={"effort": "low"})
    assert not hides(OpenAIResponses(), input="x", reasoning={"effort": "none"})
    claude: dict[str, Any] = {**chat, "max_tokens": 4000}
    assert not hides(AnthropicMessages(), **claude)
    assert not hides(AnthropicMessages(), **claude, thinking={"type": "disabled"})
    assert hides(AnthropicMessages(), **claude, thinking={"type": "enabled", "budget_tokens": 2000})
    assert hides(AnthropicMessages(), **claude, thinking={"type": "adaptive"})
    google: dict[str, Any] = {"contents": [{"parts": [{"text": "x"}]}]}
    path, form = "/v1beta/models/m:streamGenerateContent", GeminiGenerate("streamGenerateContent")
    assert hides(form, path, **google)
    for name in ("thinkingBudget", "thinking_budget"):
        assert not hides(form, path, **google, generationConfig={"thinkingConfig": {name: 0}})
        assert hides(form, path, **google, generationConfig={"thinkingConfig": {name: 100}})
