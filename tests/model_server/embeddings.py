"""OpenAI's embeddings as the provider writes them. Pure: a plan in, a document out."""

import base64
import struct
from collections.abc import Iterator

from tests.model_server.formats import Json, OpenAI, Plan

VECTOR = (0.5, -0.25, 0.125)


class Embeddings:
    """`POST /v1/embeddings`."""

    @staticmethod
    def document(planned: Plan) -> Json:
        encoded = base64.b64encode(struct.pack("<3f", *VECTOR)).decode()
        document: Json = {
            "object": "list",
            "model": planned.model,
            "data": [{"object": "embedding", "index": 0, "embedding": encoded if planned.base64 else list(VECTOR)}],
        }
        usage: Json = {"prompt_tokens": planned.input_tokens, "total_tokens": planned.input_tokens}
        match planned.script.usage:
            case "absent":
                return document
            case "negative" | "contradictory":
                return document | {"usage": {"prompt_tokens": -1, "total_tokens": -1}}
            case "true":
                return document | {"usage": usage}

    @staticmethod
    def events(planned: Plan) -> Iterator[bytes]:
        raise ValueError("embeddings are not streamed")

    @staticmethod
    def error(status: int) -> Json:
        return OpenAI.error(status)
