"""What an answer in Gemini's format has used, and how its stream is ended early.

`usageMetadata` is cumulative, so the last one holds; it is final once every candidate has a reason to be finished, or
the prompt was blocked. Output is candidates and thoughts. A stream is either server-sent events (`alt=sse`) or one JSON
array; neither ever carries a comment, which Google's SDKs take for an error.
"""

from typing import Any, Final

import msgspec

from ambit.gateway.models.json_array import ArraySplitter, element_of
from ambit.gateway.models.output_bytes import STRUCTURE_TOKENS, written
from ambit.gateway.models.sse import EventSplitter, Fragment, event_data
from ambit.gateway.models.unreadable import UNREADABLE
from ambit.gateway.models.wire_format import Call, TokenUsage


class _Usage(msgspec.Struct, rename="camel"):
    prompt_token_count: int | None = None
    cached_content_token_count: int = 0
    tool_use_prompt_token_count: int = 0
    candidates_token_count: int = 0
    thoughts_token_count: int = 0
    total_token_count: int | None = None


class _Part(msgspec.Struct, rename="camel"):
    text: str = ""
    function_call: msgspec.Raw = msgspec.Raw(b"")


class _Content(msgspec.Struct, rename="camel"):
    parts: list[_Part] | None = None


class _Candidate(msgspec.Struct, rename="camel"):
    index: int = 0
    content: _Content | None = None
    finish_reason: str | None = None


class _Feedback(msgspec.Struct, rename="camel"):
    block_reason: str | None = None


class _Answer(msgspec.Struct, rename="camel"):
    candidates: list[_Candidate] | None = None
    prompt_feedback: _Feedback | None = None
    usage_metadata: _Usage | None = None
    model_version: str | None = None
    response_id: str | None = None


_decode: Final = msgspec.json.Decoder(_Answer).decode


def _token_usage(usage: _Usage) -> TokenUsage | None:
    """None where the numbers contradict each other: what is not understood is charged by the hold."""
    if usage.prompt_token_count is None:
        return None
    read, tool_use = usage.cached_content_token_count, usage.tool_use_prompt_token_count
    output = usage.candidates_token_count + usage.thoughts_token_count
    if usage.total_token_count is not None:
        output = max(output, usage.total_token_count - usage.prompt_token_count - tool_use)
    plain = usage.prompt_token_count - read + tool_use
    lowest = min(plain - tool_use, read, tool_use, usage.candidates_token_count, usage.thoughts_token_count)
    return TokenUsage(plain, read, 0, output) if lowest >= 0 else None


def usage_of_document(document: bytes) -> TokenUsage | None:
    """Raises UNREADABLE."""
    usage = _decode(document).usage_metadata
    return _token_usage(usage) if usage is not None else None


class _Following:
    """Follows a stream's answers, in whichever frame they come."""

    def __init__(self, call: Call) -> None:
        self._open = set(range(call.choices))
        self._blocked = False
        self._last = _Answer()
        self._usage: _Usage | None = None
        self.output_bound = STRUCTURE_TOKENS * call.choices

    @property
    def ended(self) -> bool:
        return self._blocked or not self._open

    @property
    def usage(self) -> TokenUsage | None:
        return _token_usage(self._usage) if self.ended and self._usage is not None else None

    def skip(self, part: Fragment) -> None:
        """Something too long to be read has passed."""
        self.output_bound += len(part)
        self._usage = None

    def read(self, data: bytes) -> None:
        if not data:
            return
        try:
            answer = _decode(data)
        except UNREADABLE:
            self.output_bound += len(data)
            if b'"usageMetadata"' in data:
                self._usage = None  # not ours to judge, but what was said before is not the last word
            return
        for candidate in answer.candidates or ():
            self.output_bound += _written(candidate)
        if answer.usage_metadata is not None:
            self._usage = answer.usage_metadata
        self._open.difference_update([one.index for one in answer.candidates or [] if one.finish_reason])
        if answer.prompt_feedback is not None and answer.prompt_feedback.block_reason:
            self._blocked = True
        self._last = answer

    def ending(self) -> bytes:
        """An answer that finishes every candidate that is open."""
        answer: dict[str, Any] = {
            "candidates": [
                {"content": {"parts": [{"text": ""}], "role": "model"}, "finishReason": "MAX_TOKENS", "index": index}
                for index in sorted(self._open)
            ]
        }
        if self._usage is not None:
            answer["usageMetadata"] = self._usage
        if self._last.model_version is not None:
            answer["modelVersion"] = self._last.model_version
        if self._last.response_id is not None:
            answer["responseId"] = self._last.response_id
        return msgspec.json.encode(answer)


def _written(candidate: _Candidate) -> int:
    """At most how many tokens stand behind what one answer of a stream adds to a candidate."""
    parts = candidate.content.parts if candidate.content is not None else None
    bound = 0
    for part in parts or ():
        bound += written(part.text)
        if part.function_call:  # with the names of its arguments, which the model writes, too
            bound += STRUCTURE_TOKENS + len(bytes(part.function_call))
    return bound


class EventMeter:
    """Of a stream of server-sent events."""

    def __init__(self, call: Call) -> None:
        self._splitter = EventSplitter()
        self._following = _Following(call)

    @property
    def usage(self) -> TokenUsage | None:
        return self._following.usage

    @property
    def output_bound(self) -> int | None:
        return self._following.output_bound

    def feed(self, data: bytes) -> bytes:
        whole = self._splitter.feed(data)
        for one in whole:
            self._read(one)
        return b"".join(whole)

    def end(self) -> bytes:
        rest = self._splitter.rest()
        self._read(rest)
        return rest

    def _read(self, whole: bytes) -> None:
        if isinstance(whole, Fragment):
            self._following.skip(whole)
        else:
            self._following.read(event_data(whole))

    def cut(self) -> bytes:
        return b"" if self._following.ended else b"data: %b\r\n\r\n" % self._following.ending()


class ArrayMeter:
    """Of a stream that is one JSON array."""

    def __init__(self, call: Call) -> None:
        self._splitter = ArraySplitter()
        self._following = _Following(call)

    @property
    def usage(self) -> TokenUsage | None:
        return self._following.usage

    @property
    def output_bound(self) -> int | None:
        return self._following.output_bound

    def feed(self, data: bytes) -> bytes:
        pieces = self._splitter.feed(data)
        for piece in pieces:
            self._read(piece)
        return b"".join(pieces)

    def end(self) -> bytes:
        rest = self._splitter.rest()
        self._read(rest)
        return rest

    def _read(self, piece: bytes) -> None:
        if isinstance(piece, Fragment):
            self._following.skip(piece)
        else:
            self._following.read(element_of(piece))

    def cut(self) -> bytes:
        if self._splitter.closed:
            return b""
        if self._following.ended:
            return b"]"
        before = b"," if self._splitter.elements else b"["
        return b"%b%b]" % (before, self._following.ending())
