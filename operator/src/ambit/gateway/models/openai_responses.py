"""OpenAI's responses: what a request asks for, and what it may. What its answer has used: `openai_responses_answer`.

State that the provider stores is billed though it is not in the request: its bound is the model's context.
"""

from collections.abc import Mapping
from typing import Any, Final

from ambit.api.model_route import Provider
from ambit.gateway.models import openai_fields, strict_json
from ambit.gateway.models.fields import ANOTHER_LIMIT, Fields, prompt_of
from ambit.gateway.models.json_meter import JsonMeter
from ambit.gateway.models.openai_fields import AT_THE_PROVIDER
from ambit.gateway.models.openai_responses_answer import StreamMeter, usage_of_document
from ambit.gateway.models.strict_json import malformed, not_bounded
from ambit.gateway.models.wire_format import TOKENS_PER_MESSAGE, Call, Meter
from ambit.gateway.prefixes import Prompt
from ambit.gateway.server.http import Headers, Request

MIN_OUTPUT_TOKENS: Final = 16
"""The least `max_output_tokens` that OpenAI takes."""

_STORED: Final = ("previous_response_id", "conversation", "prompt")
_FIELDS: Final = Fields(
    prompt=("input", "instructions", "tools", "tool_choice", "text", *_STORED),
    settings=(
        *("model", "max_output_tokens", "stream", "stream_options", "temperature", "top_p", "top_logprobs"),
        *("parallel_tool_calls", "max_tool_calls", "truncation", "reasoning", "include", "store", "metadata", "user"),
        *("safety_identifier", "prompt_cache_key", "prompt_cache_retention", "prompt_cache_options", "service_tier"),
        *("background", "moderation", "access_programs"),
    ),
    refused={
        **{name: why for name, why in openai_fields.REFUSED.items() if name != "background"},
        **dict.fromkeys(("max_tokens", "max_completion_tokens", "n"), ANOTHER_LIMIT),
        "context_management": "compaction calls the model again at the provider, past the bound",
        "image": "generated images have a price of their own, which the route does not state",
        "audio": "audio has a price of its own, which the route does not state",
        "modalities": "only text can be bounded in this version",
        "multi_agent": "several agents at the provider call the model past the bound",
    },
)
_CLIENT_TOOLS: Final = frozenset({"function", "custom", "local_shell", "apply_patch"})
_CHOICES: Final = _CLIENT_TOOLS | {"shell", "namespace", "tool_search"}
_ITEMS: Final = frozenset(
    {
        *("message", "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output"),
        *("local_shell_call", "local_shell_call_output", "shell_call", "shell_call_output"),
        *("apply_patch_call", "apply_patch_call_output", "tool_search_call", "reasoning"),
    }
)
"""Items whose bytes bound their tokens."""
_ITEMS_OF_THE_PROVIDER: Final = frozenset(
    {
        *("item_reference", "compaction", "web_search_call", "file_search_call", "code_interpreter_call"),
        *("image_generation_call", "mcp_call", "mcp_list_tools"),
    }
)
"""Items of earlier answers that may stand for more than their bytes."""
_ITEMS_WITH_TOOLS: Final = frozenset({"additional_tools", "tool_search_output"})
_TEXT_PARTS: Final = frozenset({"input_text", "output_text", "refusal", "text", "summary_text", "reasoning_text"})
_FILE_PARTS: Final = frozenset({"input_image", "input_file"})


class OpenAIResponses:
    """The wire format of `POST /v1/responses`."""

    provider = Provider.OPENAI
    call_path = "/v1/responses"

    def serves(self, path: str) -> bool:
        return path == self.call_path

    def parse(self, request: Request) -> Call:
        fields = strict_json.decode_object(request.body)
        _FIELDS.check(fields)
        if strict_json.flag(fields, "background"):
            raise not_bounded("background", openai_fields.REFUSED["background"])
        openai_fields.check_tier(fields)
        tools = _tool_count(fields.get("tools"), "tools")
        items, whole = _items(fields.get("input"))
        _check_tool_choice(fields.get("tool_choice"))
        stored = any(fields.get(name) is not None for name in _STORED)
        bound = _FIELDS.prompt_bytes(fields) + TOKENS_PER_MESSAGE * (items + tools + 1)
        return Call(
            model=strict_json.text_field(fields, "model"),
            stream=strict_json.flag(fields, "stream"),
            prompt_tokens_bound=bound if whole and not stored else None,
            choices=1,
            asked_output_tokens=strict_json.positive_int(fields, "max_output_tokens"),
            floor_output_tokens=MIN_OUTPUT_TOKENS,
            wants_usage=True,
            fields=fields,
            hides_output=_may_reason(fields.get("reasoning")),
            prompt=(lambda: _prompt(fields))
            if whole and not stored and isinstance(fields.get("input"), list)
            else None,
        )

    def rewrite(self, call: Call, model: str, output_tokens: int) -> bytes:
        rewritten = {**call.fields, "model": model, "max_output_tokens": output_tokens}
        if call.fields.get("prompt") is not None and call.fields.get("tools") is None:
            rewritten[
                "tools"
            ] = []  # a stored prompt may name tools of the provider; what the request says overrides it
        return strict_json.encode(rewritten)

    def target(self, request: Request, model: str) -> str:
        return self.call_path

    def credential(self, key: str) -> Headers:
        return openai_fields.credential(key)

    def meter(self, call: Call, event_stream: bool) -> Meter:
        return StreamMeter(call) if event_stream else JsonMeter(usage_of_document)


# -- the request ----------------------------------------------------------------


def _prompt(fields: Mapping[str, Any]) -> Prompt:
    items = strict_json.object_list(fields["input"], "input")
    bounds = [len(strict_json.encode(item)) + TOKENS_PER_MESSAGE * (1 + _tools_in(item)) for item in items]
    return prompt_of(fields, "input", ("max_output_tokens",), bounds)


def _tools_in(item: Mapping[str, Any]) -> int:
    return _tool_count(item.get("tools"), "tools") if item.get("type") in _ITEMS_WITH_TOOLS else 0


def _may_reason(given: Any) -> bool:
    return given is None or strict_json.an_object(given, "reasoning").get("effort") != "none"


def _items(value: Any) -> tuple[int, bool]:
    """How many items the input has, and whether their bytes bound them."""
    if value is None or isinstance(value, str):
        return 1, True
    items = strict_json.object_list(value, "input")
    tools, whole = 0, True
    for index, item in enumerate(items):
        where = f"input[{index}]"
        kind = item.get("type") or ("message" if "role" in item else "item_reference")
        if not isinstance(kind, str):
            raise malformed(f"{where}.type: write a string", f"{where}.type")
        if kind in _ITEMS:
            whole &= _bounded_by_its_bytes(item, kind, where)
        elif kind in _ITEMS_WITH_TOOLS:
            tools += _tool_count(item.get("tools"), f"{where}.tools")
        elif kind in _ITEMS_OF_THE_PROVIDER:
            whole = False
        else:
            raise not_bounded(f"{where}.type", f"{kind!r} {AT_THE_PROVIDER}")
    return len(items) + tools, whole


def _bounded_by_its_bytes(item: Mapping[str, Any], kind: str, where: str) -> bool:
    if kind == "reasoning":  # without its encrypted content it is read from what the provider has stored
        return bool(item.get("encrypted_content")) or not item.get("id")
    content = item.get("content" if kind == "message" else "output")
    whole = True
    if isinstance(content, list):
        name = "content" if kind == "message" else "output"
        for index, part in enumerate(strict_json.object_list(content, f"{where}.{name}")):
            part_kind = str(part.get("type"))
            if part_kind in _FILE_PARTS:
                whole = False
            elif part_kind not in _TEXT_PARTS and kind != "shell_call_output":  # whose parts have no type
                raise not_bounded(f"{where}.{name}[{index}].type", f"{part_kind!r} cannot be bounded in this version")
    return whole


def _tool_count(value: Any, where: str) -> int:
    """How many tools there are; all run at the client."""
    if value is None:
        return 0
    count = 0
    for index, tool in enumerate(strict_json.object_list(value, where)):
        kind = tool.get("type")
        at = f"{where}[{index}]"
        count += 1
        if kind == "namespace":
            count += _tool_count(tool.get("tools"), f"{at}.tools")
        elif kind == "shell":
            environment = strict_json.an_object(tool.get("environment"), f"{at}.environment")
            if environment.get("type") != "local":
                raise not_bounded(f"{at}.environment.type", f"{environment.get('type')!r} {AT_THE_PROVIDER}")
        elif kind == "tool_search":
            if tool.get("execution") != "client":
                raise not_bounded(f"{at}.execution", f"{tool.get('execution')!r} {AT_THE_PROVIDER}")
        elif not isinstance(kind, str) or kind not in _CLIENT_TOOLS:
            raise not_bounded(f"{at}.type", f"{kind!r} {AT_THE_PROVIDER}")
    return count


def _check_tool_choice(value: Any) -> None:
    if value is None or isinstance(value, str):
        return
    choice = strict_json.an_object(value, "tool_choice")
    chosen = [choice]
    if choice.get("type") == "allowed_tools":
        chosen = strict_json.object_list(choice.get("tools"), "tool_choice.tools")
    for one in chosen:
        if str(one.get("type")) not in _CHOICES:
            raise not_bounded("tool_choice", f"{one.get('type')!r} {AT_THE_PROVIDER}")
