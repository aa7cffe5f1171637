"""What Anthropic's content is bounded with: text by its bytes, images by the published rule, files by the context."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from ambit.gateway import bounds
from ambit.gateway.models.anthropic_content import IMAGE_TOKENS
from ambit.gateway.models.anthropic_count import AnthropicCount
from ambit.gateway.models.anthropic_messages import AnthropicMessages
from ambit.gateway.models.wire_format import Billing, Call, RefusedCall, TokenUsage
from ambit.gateway.server.http import Request
from tests.gateway.test_bounds import a_route

WIRE = AnthropicMessages()
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * 100_000}}
PDF = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}}
HOUR = {"type": "ephemeral", "ttl": "1h"}


def parse(*content: Any, **fields: Any) -> Call:
    body = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": list(content)}], **fields}
    return WIRE.parse(Request("POST", "/", (), msgspec.json.encode(body)))


def tokens(*content: Any, **fields: Any) -> int:
    bound = parse(*content, **fields).prompt_tokens_bound
    assert bound is not None
    return bound


def test_an_image_counts_by_the_published_rule_and_not_by_its_bytes() -> None:
    plain = tokens({"type": "text", "text": "x"})
    one = tokens({"type": "text", "text": "x"}, IMAGE)
    assert IMAGE_TOKENS <= one - plain < IMAGE_TOKENS + 100
    assert 2 * IMAGE_TOKENS <= tokens({"type": "text", "text": "x"}, IMAGE, IMAGE) - plain < 2 * IMAGE_TOKENS + 200


@pytest.mark.parametrize("source", [{"type": "url", "url": "https://x.test/i"}, {"type": "file", "file_id": "f"}])
def test_an_image_that_is_elsewhere_counts_as_much(source: dict[str, str]) -> None:
    assert tokens({"type": "image", "source": source}) >= IMAGE_TOKENS


def test_images_in_tool_results_and_documents_are_found() -> None:
    result = {"type": "tool_result", "tool_use_id": "t", "content": [IMAGE]}
    document = {"type": "document", "source": {"type": "content", "content": [IMAGE]}}
    assert IMAGE_TOKENS <= tokens(result) < IMAGE_TOKENS + 300
    assert IMAGE_TOKENS <= tokens(document) < IMAGE_TOKENS + 300


@pytest.mark.parametrize(
    "source",
    [PDF["source"], {"type": "url", "url": "https://x.test/d.pdf"}, {"type": "file", "file_id": "f"}, {"type": "new"}],
)
def test_a_file_may_fill_the_context(source: Any) -> None:
    assert parse({"type": "document", "source": source}).prompt_tokens_bound is None
    inside = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "document", "source": source}]}
    assert parse(inside).prompt_tokens_bound is None


def test_a_document_of_text_counts_by_its_bytes() -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "x" * 1000}
    assert tokens({"type": "document", "source": source}) >= 1000


def test_tools_that_run_at_the_client_add_what_is_published() -> None:
    plain = tokens()
    bash = tokens(tools=[{"type": "bash_20250124", "name": "bash"}])
    editor = tokens(tools=[{"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"}])
    assert bash >= plain + 530 + 245
    assert editor >= plain + 530 + 700


@pytest.mark.parametrize(
    ("fields", "blamed"),
    [
        ({"cache_control": HOUR}, "cache_control.ttl"),
        ({"system": [{"type": "text", "text": "x", "cache_control": HOUR}]}, "system[0].cache_control.ttl"),
        ({"tools": [{"name": "f", "input_schema": {}, "cache_control": HOUR}]}, "tools[0].cache_control.ttl"),
    ],
)
def test_cache_writes_of_an_hour_need_a_price_and_are_held_at_it(fields: Any, blamed: str) -> None:
    call = parse(**fields)
    with pytest.raises(RefusedCall, match="cacheWriteHour") as refused:
        bounds.priced_for(call, a_route())
    assert (refused.value.status, refused.value.field) == (403, blamed)
    priced = a_route(replace(a_route().price, cache_write_1h_picos=2_000_000))
    held = bounds.bound(call, bounds.priced_for(call, priced))
    cheaper = bounds.bound(parse(), bounds.priced_for(parse(), priced))
    assert held.want.usd_nanos == held.input_tokens * 2000 + 100 * 4000
    assert cheaper.want.usd_nanos == cheaper.input_tokens * 1250 + 100 * 4000
    used = TokenUsage(0, 0, 10, 0, cache_write_1h=10)
    assert bounds.used(bounds.priced_for(call, priced), used).usd_nanos == 10 * 1250 + 10 * 2000
    assert bounds.used(priced, used).tokens == 20


INTERLEAVED = {"type": "enabled", "budget_tokens": 20_000}


@pytest.mark.parametrize(
    ("thinking", "floor", "granted", "sent"),
    [
        ({"type": "enabled", "budget_tokens": 8000}, 1025, 3000, {"type": "enabled", "budget_tokens": 2999}),
        ({"type": "enabled", "budget_tokens": 8000}, 1025, 1025, {"type": "enabled", "budget_tokens": 1024}),
        ({"type": "enabled", "budget_tokens": 1024}, 1025, 3000, {"type": "enabled", "budget_tokens": 1024}),
        (INTERLEAVED, 0, 3000, INTERLEAVED),
        ({"type": "adaptive"}, 0, 3000, {"type": "adaptive"}),
        ({"type": "disabled"}, 0, 3000, {"type": "disabled"}),
    ],
)
def test_a_clamp_leaves_thinking_within_the_providers_rules(thinking: Any, floor: int, granted: int, sent: Any) -> None:
    call = parse(max_tokens=16_000, thinking=thinking)
    assert call.floor_output_tokens == floor
    rewritten = msgspec.json.decode(WIRE.rewrite(call, "m", granted))
    assert (rewritten["max_tokens"], rewritten["thinking"]) == (granted, sent)


@pytest.mark.parametrize("budget", [1023, 0, -1, 1.5, "2000", None, True])
def test_a_thinking_budget_below_the_providers_least_is_400(budget: Any) -> None:
    with pytest.raises(RefusedCall) as refused:
        parse(thinking={"type": "enabled", "budget_tokens": budget})
    assert (refused.value.status, refused.value.field) == (400, "thinking.budget_tokens")


def test_a_count_is_a_call_that_costs_nothing() -> None:
    body = msgspec.json.encode({"model": "m", "messages": [], "tools": [{"type": "web_search_20250305"}]})
    call = AnthropicCount().parse(Request("POST", "/", (), body))
    assert call.billing is Billing.NOTHING
    assert msgspec.json.decode(AnthropicCount().rewrite(call, "backend", 0))["model"] == "backend"
    meter = AnthropicCount().meter(call, event_stream=False)
    assert meter.feed(b'{"input_tokens": 2095}') + meter.end() == b'{"input_tokens": 2095}'
    assert meter.usage == TokenUsage(0, 0, 0, 0)
