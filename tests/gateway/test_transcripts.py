"""Recorded answers, replayed at every split of their bytes: the same usage, and not a byte altered."""

from pathlib import Path

import pytest

from ambit.gateway.models.anthropic_messages import AnthropicMessages
from ambit.gateway.models.gemini_generate import GeminiGenerate
from ambit.gateway.models.openai_chat import OpenAIChat
from ambit.gateway.models.openai_embeddings import OpenAIEmbeddings
from ambit.gateway.models.openai_responses import OpenAIResponses
from ambit.gateway.models.wire_format import Call, TokenUsage, WireFormat

FOLDER = Path(__file__).parent / "transcripts"
CALL = Call("m", True, 10, 1, None, 0, True, {})
TRANSCRIPTS: list[tuple[str, WireFormat, TokenUsage]] = [
    ("openai_chat.sse", OpenAIChat(), TokenUsage(15, 4, 0, 10)),
    ("openai_responses_text.sse", OpenAIResponses(), TokenUsage(37, 0, 0, 11)),
    ("openai_responses_reasoning_and_tool.sse", OpenAIResponses(), TokenUsage(267, 1024, 0, 215)),
    ("openai_responses_incomplete.json", OpenAIResponses(), TokenUsage(11, 0, 0, 16)),
    ("gemini.sse", GeminiGenerate("streamGenerateContent"), TokenUsage(6, 5, 0, 75)),
    ("gemini_array.json", GeminiGenerate("streamGenerateContent"), TokenUsage(6, 5, 0, 75)),
    ("gemini_blocked.sse", GeminiGenerate("streamGenerateContent"), TokenUsage(7, 0, 0, 0)),
    ("openai_embeddings.json", OpenAIEmbeddings(), TokenUsage(8, 0, 0, 0)),
    ("anthropic_thinking_and_tool.sse", AnthropicMessages(), TokenUsage(472, 100, 10, 89, 20)),
]


@pytest.mark.parametrize(("name", "wire", "usage"), TRANSCRIPTS, ids=[name for name, _, _ in TRANSCRIPTS])
def test_a_transcript_counts_the_same_at_every_split(name: str, wire: WireFormat, usage: TokenUsage) -> None:
    answer = (FOLDER / name).read_bytes()
    for at in range(len(answer) + 1):
        meter = wire.meter(CALL, event_stream=name.endswith(".sse"))
        assert meter.feed(answer[:at]) + meter.feed(answer[at:]) + meter.end() == answer
        assert meter.usage == usage


@pytest.mark.parametrize(("name", "wire", "usage"), TRANSCRIPTS, ids=[name for name, _, _ in TRANSCRIPTS])
def test_a_transcript_counts_the_same_byte_by_byte(name: str, wire: WireFormat, usage: TokenUsage) -> None:
    answer = (FOLDER / name).read_bytes()
    meter = wire.meter(CALL, event_stream=name.endswith(".sse"))
    passed = b"".join(meter.feed(answer[at : at + 1]) for at in range(len(answer)))
    assert passed + meter.end() == answer
    assert meter.usage == usage


def test_no_transcript_is_left_out() -> None:
    assert {path.name for path in FOLDER.iterdir()} - {"README.md"} == {name for name, _, _ in TRANSCRIPTS}
