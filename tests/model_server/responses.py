"""OpenAI's responses format as the provider writes it. Pure: a plan in, events out."""

from collections.abc import Iterator
from typing import Any

import msgspec

from tests.model_server.formats import CREATED, Json, Plan, frames, words


class Responses:
    """`POST /v1/responses`."""

    @staticmethod
    def usage(planned: Plan) -> Json | None:
        usage: Json = {
            "input_tokens": planned.input_tokens,
            "input_tokens_details": {"cached_tokens": planned.script.cached, "cache_write_tokens": 0},
            "output_tokens": planned.output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": planned.input_tokens + planned.output_tokens,
        }
        match planned.script.usage:
            case "absent":
                return None
            case "negative":
                return usage | {"output_tokens": -1}
            case "contradictory":
                return usage | {"input_tokens_details": {"cached_tokens": planned.input_tokens + 1}}
            case "true":
                return usage

    @staticmethod
    def document(planned: Plan) -> Json:
        text = "".join(words(planned.output_tokens))
        message = _message(planned, [_text_part(text)])
        ends: Json = {"status": "completed", "incomplete_details": None}
        if planned.cut_short:
            ends = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
        return _begun(planned) | ends | {"output": [message], "usage": Responses.usage(planned)}

    @staticmethod
    def events(planned: Plan) -> Iterator[bytes]:
        sequence = -1

        def event(kind: str, **fields: Any) -> bytes:
            nonlocal sequence
            sequence += 1
            body = msgspec.json.encode({"type": kind, "sequence_number": sequence, **fields})
            return f"event: {kind}\n".encode() + b"data: " + body + b"\n\n"

        part = {"item_id": "msg_scripted", "output_index": 0, "content_index": 0}
        head = event("response.created", response=_begun(planned))
        head += event("response.in_progress", response=_begun(planned))
        begun = _message(planned, []) | {"status": "in_progress"}
        head += event("response.output_item.added", output_index=0, item=begun)
        head += event("response.content_part.added", **part, part=_text_part(""))
        for word in frames(planned):
            yield head + event("response.output_text.delta", **part, delta=word, logprobs=[])
            head = b""
        document = Responses.document(planned)
        [message] = document["output"]
        text = message["content"][0]["text"]
        ends = head + event("response.output_text.done", **part, text=text, logprobs=[])
        ends += event("response.content_part.done", **part, part=message["content"][0])
        ends += event("response.output_item.done", output_index=0, item=message)
        yield ends + event(f"response.{document['status']}", response=document)

    @staticmethod
    def error(status: int) -> Json:
        return {"error": {"message": f"scripted {status}", "type": "scripted", "param": None, "code": None}}


def _text_part(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _message(planned: Plan, content: list[Json]) -> Json:
    status = "incomplete" if planned.cut_short else "completed"
    return {"id": "msg_scripted", "type": "message", "role": "assistant", "status": status, "content": content}


def _begun(planned: Plan) -> Json:
    return {
        "id": "resp_scripted",
        "object": "response",
        "created_at": CREATED,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": planned.model,
        "output": [],
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": None,
    }
