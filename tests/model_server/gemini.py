"""Gemini's format as the provider writes it. Pure: a plan in, events or the elements of an array out."""

from collections.abc import Iterator
from typing import Any

import msgspec

from tests.model_server.formats import Json, Plan, frames, words


def asked(body: Json, model: str, stream: bool) -> Json:
    """A request in the terms of the other formats."""
    config: Json = body.get("generationConfig") or {}
    made: Json = {"model": model, "stream": stream, "messages": body.get("contents")}
    if "maxOutputTokens" in config:
        made["max_tokens"] = config["maxOutputTokens"]
    return made | {"n": config.get("candidateCount") or 1}


class Gemini:
    """`POST /v1beta/models/MODEL:generateContent` and `…:streamGenerateContent?alt=sse`."""

    @staticmethod
    def usage(planned: Plan, written: int) -> Json:
        """After so many tokens of each candidate."""
        script = planned.script
        candidates = planned.choices * written
        usage: Json = {
            "promptTokenCount": planned.input_tokens,
            "candidatesTokenCount": candidates,
            "thoughtsTokenCount": script.thoughts,
            "cachedContentTokenCount": script.cached,
            "totalTokenCount": planned.input_tokens + candidates + script.thoughts,
        }
        match script.usage:
            case "absent":
                return {}
            case "negative":
                return {"usageMetadata": usage | {"candidatesTokenCount": -1}}
            case "contradictory":
                return {"usageMetadata": usage | {"cachedContentTokenCount": planned.input_tokens + 1}}
            case "true":
                return {"usageMetadata": usage}

    @staticmethod
    def document(planned: Plan) -> Json:
        finish = "MAX_TOKENS" if planned.cut_short else "STOP"
        return _answer(planned, "".join(words(planned.output_tokens)), planned.output_tokens, finish)

    @staticmethod
    def answers(planned: Plan) -> Iterator[bytes]:
        """The stream's answers, a frame each, the last with the reason of its end."""
        for count, frame in enumerate(frames(planned), start=1):
            tokens = min(count * planned.script.frame_tokens, planned.output_tokens)
            yield msgspec.json.encode(_answer(planned, frame, tokens, None))
        finish = "MAX_TOKENS" if planned.cut_short else "STOP"
        yield msgspec.json.encode(_answer(planned, "", planned.output_tokens, finish))

    @staticmethod
    def events(planned: Plan) -> Iterator[bytes]:
        for answer in Gemini.answers(planned):
            yield b"data: " + answer + b"\r\n\r\n"

    @staticmethod
    def error(status: int) -> Json:
        return {"error": {"code": status, "message": f"scripted {status}", "status": "SCRIPTED"}}


class GeminiArray(Gemini):
    """`POST /v1beta/models/MODEL:streamGenerateContent`: one JSON array."""

    @staticmethod
    def events(planned: Plan) -> Iterator[bytes]:
        before = b"["
        for answer in Gemini.answers(planned):
            yield before + answer
            before = b"\n,\r\n"
        yield b"\n]"


class GeminiCount(Gemini):
    """`POST /v1beta/models/MODEL:countTokens`."""

    @staticmethod
    def document(planned: Plan) -> Json:
        return {"totalTokens": planned.input_tokens}


def _answer(planned: Plan, text: str, written: int, finish: str | None) -> Json:
    reason: dict[str, Any] = {} if finish is None else {"finishReason": finish}
    candidates = [
        {"content": {"parts": [{"text": text}], "role": "model"}, "index": index} | reason
        for index in range(planned.choices)
    ]
    head: Json = {"candidates": candidates, "modelVersion": "scripted", "responseId": "resp-scripted"}
    return head | Gemini.usage(planned, written)
