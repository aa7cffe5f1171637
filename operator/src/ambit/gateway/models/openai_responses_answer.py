"""What an answer in OpenAI's responses format has used, and how its stream is ended early.

Usage stands in the last event (`response.completed`, `response.incomplete`). A stream that is cut ends as the provider
ends one at `max_output_tokens`: what the client has been shown is closed, part by part, and repeated in
`response.incomplete`. A tool call or a piece of reasoning that is half written is left out: clients run the one and
send the other back, and neither is whole.
"""

from typing import Any, Final

import msgspec

from ambit.gateway.models.openai_usage import token_usage
from ambit.gateway.models.output_bytes import STRUCTURE_TOKENS, written
from ambit.gateway.models.sse import EventSplitter, Fragment, event, event_data
from ambit.gateway.models.unreadable import UNREADABLE
from ambit.gateway.models.wire_format import Call, TokenUsage


class _InputDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _Usage(msgspec.Struct):
    input_tokens: int
    output_tokens: int
    total_tokens: int | None = None
    input_tokens_details: _InputDetails | None = None


class _Response(msgspec.Struct):
    usage: _Usage | None = None


class _Event(msgspec.Struct):
    type: str = ""
    sequence_number: int = 0
    output_index: int = 0
    content_index: int = 0
    item_id: str = ""
    delta: Any = None
    item: msgspec.Raw = msgspec.Raw(b"null")
    part: msgspec.Raw = msgspec.Raw(b"null")
    response: msgspec.Raw = msgspec.Raw(b"null")


class _Item(msgspec.Struct):
    """An item of the output, as far as it has come."""

    added: bytes
    parts: dict[int, "_Part"] = {}
    done: bytes | None = None


class _Part(msgspec.Struct):
    """A part of a message, as far as it has come."""

    added: bytes
    text: bytearray
    done: bytes | None = None


_decode_event: Final = msgspec.json.Decoder(_Event).decode
_decode_response: Final = msgspec.json.Decoder(_Response).decode
_LAST: Final = frozenset({"response.completed", "response.incomplete", "response.failed"})
MAX_KEPT_BYTES: Final = 4 * 2**20
"""Of what has passed of one answer. A longer one is not repeated where it is cut: `response.incomplete` is empty."""
_TEXT_OF: Final = {"output_text": "text", "refusal": "refusal"}


def _token_usage(usage: _Usage) -> TokenUsage | None:
    details = usage.input_tokens_details or _InputDetails()
    return token_usage(
        usage.input_tokens, usage.output_tokens, usage.total_tokens, details.cached_tokens, details.cache_write_tokens
    )


def usage_of_document(document: bytes | msgspec.Raw) -> TokenUsage | None:
    """The usage of a whole response. Raises UNREADABLE."""
    usage = _decode_response(document).usage
    return _token_usage(usage) if usage is not None else None


class StreamMeter:
    """Reads each event, all of which pass; keeps the text that has passed, so as to be able to close it."""

    def __init__(self, call: Call) -> None:
        self._splitter = EventSplitter()
        self._model = call.model
        self._usage: TokenUsage | None = None
        self._response: bytes | None = None
        self._items: dict[int, _Item] = {}
        self._kept_bytes = 0
        self._sequence = -1
        self._ended = False
        self._output_bound = STRUCTURE_TOKENS
        self._of_item = 0
        """Of the item that is being written: a whole one may hold more than its deltas did."""

    @property
    def output_bound(self) -> int | None:
        return self._output_bound

    @property
    def usage(self) -> TokenUsage | None:
        return self._usage

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
        ending = _Ending(self._sequence)
        if self._response is None:
            begun = _nothing_yet(self._model)
            ending.add("response.created", response=begun)
        else:
            begun = _object(self._response)
        output = [one for index in sorted(self._items) if (one := _closed(self._items[index], index, ending))]
        incomplete = {
            "status": "incomplete",
            "incomplete_details": {"reason": "max_output_tokens"},
            "output": output,
            "usage": None,
        }
        ending.add("response.incomplete", response=begun | incomplete)
        return b"".join(ending.events)

    def _read(self, whole: bytes) -> None:
        if isinstance(whole, Fragment):
            self._output_bound += len(whole)
            self._usage = None
            return
        data = event_data(whole)
        if not data:
            return
        try:
            read = _decode_event(data)
            self._count(read)
            self._follow(read)
        except UNREADABLE:
            self._output_bound += len(data)
            return  # not ours to judge; a usage that cannot be read leaves the usage unknown

    def _count(self, read: _Event) -> None:
        """Counts what the model wrote; what an event repeats is counted once."""
        if read.type == "response.output_item.added":
            self._output_bound += STRUCTURE_TOKENS
            self._of_item = 0
        elif read.type == "response.output_item.done":
            self._output_bound += max(0, len(bytes(read.item)) - self._of_item)
        elif read.type.endswith(".delta"):
            more = written(read.delta)
            self._of_item += more
            self._output_bound += more

    def _follow(self, read: _Event) -> None:
        self._sequence = max(self._sequence, read.sequence_number)
        match read.type:
            case "response.created" | "response.in_progress" | "response.queued":
                self._response = bytes(read.response)
            case "response.output_text.delta" | "response.refusal.delta":
                part = self._part(read)
                if part is not None and isinstance(read.delta, str):
                    part.text += self._kept(read.delta.encode("utf-8", "surrogatepass"))
            case "response.output_item.added":
                self._items[read.output_index] = _Item(self._kept(bytes(read.item)))
            case "response.output_item.done":
                self._items[read.output_index] = _Item(b"", done=self._kept(bytes(read.item)))
            case "response.content_part.added":
                if read.output_index in self._items:
                    part = _Part(self._kept(bytes(read.part)), bytearray())
                    self._items[read.output_index].parts[read.content_index] = part
            case "response.content_part.done":
                part = self._part(read)
                if part is not None:
                    part.done = self._kept(bytes(read.part))
            case _ if read.type in _LAST:
                self._ended = True
                self._usage = usage_of_document(read.response)
            case _:
                pass

    def _part(self, read: _Event) -> _Part | None:
        item = self._items.get(read.output_index)
        return item.parts.get(read.content_index) if item is not None else None

    def _kept(self, data: bytes) -> bytes:
        """Counts what is kept; once it is too much, nothing is."""
        self._kept_bytes += len(data)
        if self._kept_bytes > MAX_KEPT_BYTES:
            self._items = {}
            return b""
        return data


class _Ending:
    """The events that end a stream, numbered on from the last that passed."""

    def __init__(self, sequence: int) -> None:
        self._sequence = sequence
        self.events: list[bytes] = []

    def add(self, kind: str, **fields: Any) -> None:
        self._sequence += 1
        body = msgspec.json.encode({"type": kind, "sequence_number": self._sequence, **fields})
        self.events.append(event(body, kind))


def _closed(item: _Item, index: int, ending: _Ending) -> dict[str, Any] | None:
    """The item as it ends here, with the events that say so; None for one that must not be taken for whole."""
    if item.done is not None:
        return _object(item.done)
    added = _object(item.added)
    if added.get("type") != "message":
        return None
    content = [
        _closed_part(item.parts[number], added.get("id"), index, number, ending) for number in sorted(item.parts)
    ]
    closed = added | {"status": "incomplete", "content": content}
    ending.add("response.output_item.done", output_index=index, item=closed)
    return closed


def _closed_part(part: _Part, item_id: Any, output_index: int, content_index: int, ending: _Ending) -> dict[str, Any]:
    if part.done is not None:
        return _object(part.done)
    at = {"item_id": item_id, "output_index": output_index, "content_index": content_index}
    closed = _object(part.added)
    field = _TEXT_OF.get(str(closed.get("type")))
    if field is not None:
        closed[field] = part.text.decode("utf-8", "replace")
        more: dict[str, Any] = {"logprobs": []} if field == "text" else {}
        ending.add(f"response.{closed['type']}.done", **at, **{field: closed[field]}, **more)
    ending.add("response.content_part.done", **at, part=closed)
    return closed


def _object(encoded: bytes) -> dict[str, Any]:
    """What the provider wrote; empty where that was no object."""
    try:
        return msgspec.json.decode(encoded, type=dict[str, Any])
    except UNREADABLE:
        return {}


def _nothing_yet(model: str) -> dict[str, Any]:
    """The response of a provider that had said nothing when it was cut."""
    return {
        "id": "resp_cut",
        "object": "response",
        "created_at": 0,
        "status": "in_progress",
        "model": model,
        "output": [],
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "temperature": None,
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "usage": None,
    }
