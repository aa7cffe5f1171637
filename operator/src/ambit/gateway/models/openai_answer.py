"""What an answer in OpenAI's format has used.

Usage comes last, and in a stream only if asked for: the gateway asks, and drops that chunk where the client did not.
What was read from the cache, or written to it, stands inside `prompt_tokens`.
"""

from typing import Any, Final

import msgspec

from ambit.gateway.models.openai_usage import token_usage
from ambit.gateway.models.output_bytes import STRUCTURE_TOKENS, written
from ambit.gateway.models.sse import EventSplitter, Fragment, event, event_data
from ambit.gateway.models.unreadable import UNREADABLE
from ambit.gateway.models.wire_format import Call, TokenUsage


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: dict[str, Any] | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    id: str = ""
    created: int = 0
    model: str = ""
    choices: list[_Choice] = []
    usage: _Usage | None = None


class _Document(msgspec.Struct):
    usage: _Usage | None = None


_decode_chunk: Final = msgspec.json.Decoder(_Chunk).decode
_decode_document: Final = msgspec.json.Decoder(_Document).decode


def _token_usage(usage: _Usage) -> TokenUsage | None:
    details = usage.prompt_tokens_details or _PromptDetails()
    return token_usage(
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.total_tokens,
        details.cached_tokens,
        details.cache_write_tokens,
    )


def usage_of_document(document: bytes) -> TokenUsage | None:
    """Raises UNREADABLE."""
    usage = _decode_document(document).usage
    return _token_usage(usage) if usage is not None else None


class StreamMeter:
    """Reads each chunk; keeps the last usage, which is final once its own chunk or the end of the stream says so."""

    def __init__(self, call: Call) -> None:
        self._splitter = EventSplitter()
        self._pass_usage = call.wants_usage
        self._open_choices = set(range(call.choices))
        self._last = _Chunk()
        self._usage: TokenUsage | None = None
        self._final = False
        self._output_bound = STRUCTURE_TOKENS * call.choices

    @property
    def usage(self) -> TokenUsage | None:
        return self._usage if self._final else None

    @property
    def output_bound(self) -> int | None:
        return self._output_bound

    def feed(self, data: bytes) -> bytes:
        return b"".join([whole for whole in self._splitter.feed(data) if self._passes(whole)])

    def end(self) -> bytes:
        rest = self._splitter.rest()
        return rest if rest and self._passes(rest) else b""

    def cut(self) -> bytes:
        last = self._last
        chunk: dict[str, Any] = {
            "id": last.id or "chatcmpl-cut",
            "object": "chat.completion.chunk",
            "created": last.created,
            "model": last.model,
            "choices": [
                {"index": index, "delta": {}, "finish_reason": "length"} for index in sorted(self._open_choices)
            ],
        }
        ending = event(b"[DONE]")
        return event(msgspec.json.encode(chunk)) + ending if self._open_choices else ending

    def _passes(self, whole: bytes) -> bool:
        """Reads one event; whether it is the client's."""
        if isinstance(whole, Fragment):
            self._output_bound += len(whole)
            self._usage = None
            return True
        data = event_data(whole)
        if data == b"[DONE]":
            self._final = True
            return True
        if not data:
            return True
        try:
            chunk = _decode_chunk(data)
        except UNREADABLE:
            self._output_bound += len(data)
            if b'"usage"' in data:
                self._usage = None  # not ours to judge, but what was said before is not the last word
            return True
        if chunk.id:
            self._last = chunk
        for choice in chunk.choices:
            if choice.delta:
                self._output_bound += _written(choice.delta)
        self._open_choices.difference_update(
            [choice.index for choice in chunk.choices if choice.finish_reason is not None]
        )
        if chunk.usage is None:
            return True
        self._usage = _token_usage(chunk.usage)
        if chunk.choices:
            return True
        self._final = True
        return self._pass_usage


def _written(delta: dict[str, Any]) -> int:
    """At most how many tokens stand behind one delta. A tool call begins with its id, which its server makes."""
    calls = delta.get("tool_calls")
    begun = sum(["id" in call for call in calls]) if isinstance(calls, list) else 0  # type: ignore[reportUnknownVariableType] -- whatever the server wrote
    return written(delta) + STRUCTURE_TOKENS * begun
