"""What an answer in Anthropic's format has used.

Input and cache counts stand at `message_start`; `message_delta` is cumulative, so the last one holds. `input_tokens`
excludes what was read from and written to the cache.
"""

from typing import Any, Final

import msgspec

from ambit.gateway.models.output_bytes import STRUCTURE_TOKENS, written
from ambit.gateway.models.sse import EventSplitter, Fragment, event, event_data
from ambit.gateway.models.unreadable import UNREADABLE
from ambit.gateway.models.wire_format import Call, TokenUsage


class _CacheCreation(msgspec.Struct):
    ephemeral_1h_input_tokens: int | None = None


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation: _CacheCreation | None = None


class _Message(msgspec.Struct):
    id: str = ""
    model: str = ""
    usage: _Usage | None = None


class _Delta(msgspec.Struct):
    stop_reason: str | None = None


class _Event(msgspec.Struct):
    type: str = ""
    index: int = 0
    message: _Message | None = None
    content_block: dict[str, Any] | None = None
    delta: _Delta | None = None
    usage: _Usage | None = None


class _BlockDelta(msgspec.Struct):
    delta: dict[str, Any]


_decode_block_delta: Final = msgspec.json.Decoder(_BlockDelta).decode
_decode_event: Final = msgspec.json.Decoder(_Event).decode
_decode_message: Final = msgspec.json.Decoder(_Message).decode


def _merged(known: _Usage, newer: _Usage) -> _Usage:
    """Field by field the newer number: the counts are cumulative."""
    return _Usage(
        *(
            old if new is None else new
            for old, new in (
                (known.input_tokens, newer.input_tokens),
                (known.cache_creation_input_tokens, newer.cache_creation_input_tokens),
                (known.cache_read_input_tokens, newer.cache_read_input_tokens),
                (known.output_tokens, newer.output_tokens),
            )
        ),
        cache_creation=newer.cache_creation or known.cache_creation,
    )


def _token_usage(usage: _Usage) -> TokenUsage | None:
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    # What was written for an hour is part of all that was written.
    written = usage.cache_creation_input_tokens or 0
    for_an_hour = (usage.cache_creation.ephemeral_1h_input_tokens or 0) if usage.cache_creation else 0
    read = usage.cache_read_input_tokens or 0
    counts = TokenUsage(usage.input_tokens, read, written - for_an_hour, usage.output_tokens, for_an_hour)
    lowest = min(counts.input, counts.cache_read, counts.cache_write, counts.output, counts.cache_write_1h)
    return counts if lowest >= 0 else None


def usage_of_document(document: bytes) -> TokenUsage | None:
    """Raises UNREADABLE."""
    usage = _decode_message(document).usage
    return _token_usage(usage) if usage is not None else None


class StreamMeter:
    """Reads the events that carry counts or open and close blocks; all pass."""

    def __init__(self, call: Call) -> None:
        self._splitter = EventSplitter()
        self._model = call.model
        self._usage = _Usage()
        self._begun = False
        self._stopped = False
        self._ended = False
        self._open_block: int | None = None
        self._output_bound = STRUCTURE_TOKENS

    @property
    def output_bound(self) -> int | None:
        return self._output_bound

    @property
    def usage(self) -> TokenUsage | None:
        return _token_usage(self._usage) if self._stopped else None

    def feed(self, data: bytes) -> bytes:
        whole = self._splitter.feed(data)
        for one in whole:
            self._read(one)
        return b"".join(whole)

    def end(self) -> bytes:
        rest = self._splitter.rest()
        if rest:
            self._read(rest)
        return rest

    def cut(self) -> bytes:
        if self._ended:
            return b""
        events: list[tuple[str, dict[str, Any]]] = []
        if not self._begun:
            message: dict[str, Any] = {
                "id": "msg_cut",
                "type": "message",
                "role": "assistant",
                "model": self._model,
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                "usage": {"input_tokens": 0, "output_tokens": 0},
            }
            events.append(("message_start", {"message": message}))
        if self._open_block is not None:
            events.append(("content_block_stop", {"index": self._open_block}))
        if not self._stopped:
            delta = {"stop_reason": "max_tokens", "stop_sequence": None}
            events.append(
                ("message_delta", {"delta": delta, "usage": {"output_tokens": self._usage.output_tokens or 0}})
            )
        events.append(("message_stop", {}))
        return b"".join(event(msgspec.json.encode({"type": name, **fields}), name) for name, fields in events)

    def _read(self, whole: bytes) -> None:
        if isinstance(whole, Fragment):
            self._output_bound += len(whole)
            self._usage = _Usage()
            return
        data = event_data(whole)
        if whole.startswith(b"event: content_block_delta"):  # by far the most, and they carry no counts
            self._output_bound += _written(data)
            return
        if not data:
            return
        try:
            read = _decode_event(data)
        except UNREADABLE:
            self._output_bound += len(data)
            if b'"usage"' in data:
                self._usage = _Usage()  # counts that cannot be read leave it unknown, and the hold is charged
            return
        match read.type:
            case "message_start" if read.message is not None:
                self._begun = True
                if read.message.usage is not None:
                    self._usage = _merged(self._usage, read.message.usage)
            case "content_block_start":
                self._open_block = read.index
                self._output_bound += STRUCTURE_TOKENS + written(read.content_block)
            case "content_block_stop":
                self._open_block = None
            case "message_delta":
                if read.usage is not None:
                    self._usage = _merged(self._usage, read.usage)
                if read.delta is not None and read.delta.stop_reason is not None:
                    # The counts of a message that has no `message_delta` usage are those of its start: not final.
                    self._stopped = read.usage is not None
            case "message_stop":
                self._ended = True
            case _:
                pass


def _written(block_delta: bytes) -> int:
    """At most how many tokens stand behind one `content_block_delta`."""
    try:
        return written(_decode_block_delta(block_delta).delta)
    except UNREADABLE:
        return len(block_delta)
