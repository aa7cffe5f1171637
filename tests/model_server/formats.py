"""The two wire formats as a provider writes them. Pure: a request and a script in, events out."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from tests.model_server.script import Script

CREATED = 1_767_268_800
Json = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What one request gets."""

    script: Script
    model: str
    choices: int
    output_tokens: int
    """For each choice."""
    input_tokens: int
    """All of them, cached too."""
    cut_short: bool
    """Whether the request allowed fewer tokens than the script has."""
    include_usage: bool
    base64: bool
    """Whether embeddings were asked for in base64."""


def plan(body: Json, script: Script) -> Plan:
    """What the script makes of a request."""
    limits = ("max_completion_tokens", "max_tokens", "max_output_tokens")
    allowed = next((body[name] for name in limits if body.get(name)), script.tokens)
    options: Json = body.get("stream_options") or {}
    output = script.tokens if script.ignore_max else min(script.tokens, allowed)
    prompt = len(msgspec.json.encode([body.get(name) for name in ("messages", "input", "system", "tools")]))
    return Plan(
        script=script,
        model=str(body["model"]),
        choices=body.get("n") or 1,
        output_tokens=output,
        input_tokens=prompt // 4 if script.input is None else script.input,
        cut_short=output < script.tokens,
        include_usage=bool(options.get("include_usage")),
        base64=body.get("encoding_format") == "base64",
    )


def words(count: int) -> list[str]:
    """The output, one token each."""
    return [f"w{index} " for index in range(count)]


def frames(planned: Plan) -> list[str]:
    """The output of a stream, a frame each."""
    each = planned.script.frame_tokens
    written = words(planned.output_tokens)
    return ["".join(written[at : at + each]) for at in range(0, len(written), each)]


class OpenAI:
    """`POST /v1/chat/completions`."""

    @staticmethod
    def usage(planned: Plan) -> Json | None:
        output = planned.choices * planned.output_tokens
        usage: Json = {
            "prompt_tokens": planned.input_tokens,
            "completion_tokens": output,
            "total_tokens": planned.input_tokens + output,
            "prompt_tokens_details": {"cached_tokens": planned.script.cached},
        }
        match planned.script.usage:
            case "absent":
                return None
            case "negative":
                return usage | {"completion_tokens": -1}
            case "contradictory":
                return usage | {"prompt_tokens_details": {"cached_tokens": planned.input_tokens + 1}}
            case "true":
                return usage

    @staticmethod
    def document(planned: Plan) -> Json:
        finish = "length" if planned.cut_short else "stop"
        text = "".join(words(planned.output_tokens))
        document: Json = {
            "id": "chatcmpl-scripted",
            "object": "chat.completion",
            "created": CREATED,
            "model": planned.model,
            "choices": [
                {"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
                for index in range(planned.choices)
            ],
        }
        usage = OpenAI.usage(planned)
        return document if usage is None else document | {"usage": usage}

    @staticmethod
    def events(planned: Plan) -> Iterator[bytes]:
        def chunk(choices: list[Json], **more: Any) -> bytes:
            head = {"id": "chatcmpl-scripted", "object": "chat.completion.chunk", "created": CREATED}
            nothing_yet = {"usage": None} if planned.include_usage else {}
            body = {**head, "model": planned.model, "choices": choices, **nothing_yet, **more}
            return b"data: " + msgspec.json.encode(body) + b"\n\n"

        for word in frames(planned):
            delta = {"role": "assistant", "content": word}
            yield chunk([{"index": i, "delta": delta, "finish_reason": None} for i in range(planned.choices)])
        finish = "length" if planned.cut_short else "stop"
        ends = chunk([{"index": i, "delta": {}, "finish_reason": finish} for i in range(planned.choices)])
        usage = OpenAI.usage(planned)
        if planned.include_usage and usage is not None:
            ends += chunk([], usage=usage)
        yield ends + b"data: [DONE]\n\n"

    @staticmethod
    def error(status: int) -> Json:
        return {"error": {"message": f"scripted {status}", "type": "scripted", "param": None, "code": None}}


class Anthropic:
    """`POST /v1/messages`."""

    @staticmethod
    def usage(planned: Plan) -> Json:
        script = planned.script
        usage: Json = {
            "input_tokens": planned.input_tokens - script.cached - script.cache_write,
            "cache_read_input_tokens": script.cached,
            "cache_creation_input_tokens": script.cache_write,
            "cache_creation": {
                "ephemeral_5m_input_tokens": script.cache_write - script.cache_write_1h,
                "ephemeral_1h_input_tokens": script.cache_write_1h,
            },
            "output_tokens": planned.output_tokens,
        }
        match script.usage:
            case "absent":
                return {}
            case "negative" | "contradictory":
                return usage | {"output_tokens": -1}
            case "true":
                return usage

    @staticmethod
    def document(planned: Plan) -> Json:
        return {
            "id": "msg_scripted",
            "type": "message",
            "role": "assistant",
            "model": planned.model,
            "content": [{"type": "text", "text": "".join(words(planned.output_tokens))}],
            "stop_reason": "max_tokens" if planned.cut_short else "end_turn",
            "stop_sequence": None,
            "usage": Anthropic.usage(planned),
        }

    @staticmethod
    def events(planned: Plan) -> Iterator[bytes]:
        def event(name: str, **fields: Any) -> bytes:
            return f"event: {name}\n".encode() + b"data: " + msgspec.json.encode({"type": name, **fields}) + b"\n\n"

        usage = Anthropic.usage(planned)
        begun: Json = usage | {"output_tokens": 1} if usage else {}
        message: Json = Anthropic.document(planned) | {"content": [], "stop_reason": None, "usage": begun}
        head = event("message_start", message=message)
        head += event("content_block_start", index=0, content_block={"type": "text", "text": ""})
        head += event("ping")
        for word in frames(planned):
            yield head + event("content_block_delta", index=0, delta={"type": "text_delta", "text": word})
            head = b""
        reason = "max_tokens" if planned.cut_short else "end_turn"
        counted: Json = {"usage": {"output_tokens": usage["output_tokens"]} if usage else {}}
        yield (
            head
            + event("content_block_stop", index=0)
            + event("message_delta", delta={"stop_reason": reason, "stop_sequence": None}, **counted)
            + event("message_stop")
        )

    @staticmethod
    def error(status: int) -> Json:
        return {"type": "error", "error": {"type": "scripted", "message": f"scripted {status}"}}


class Count(Anthropic):
    """`POST /v1/messages/count_tokens`."""

    @staticmethod
    def document(planned: Plan) -> Json:
        return {"input_tokens": planned.input_tokens}
