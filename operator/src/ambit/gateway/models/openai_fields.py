"""What OpenAI's formats have in common in a request: price tiers, tools, the key."""

from collections.abc import Mapping
from typing import Any, Final

from ambit.gateway.models import strict_json
from ambit.gateway.models.fields import OTHER_SERVERS
from ambit.gateway.models.strict_json import not_bounded
from ambit.gateway.server.http import Headers

PLAIN_TIERS: Final = ("auto", "default", "flex")
"""`flex` costs less than what the route states, so the route's price bounds it."""
AT_THE_PROVIDER: Final = "runs at the provider, past the gateway"
REFUSED: Final[Mapping[str, str]] = {
    **OTHER_SERVERS,
    "web_search_options": AT_THE_PROVIDER,
    "background": "a call that outlives its connection cannot be bounded",
    "mcp_servers": AT_THE_PROVIDER,
    "container": AT_THE_PROVIDER,
    "speed": "has a price of its own, which the route does not state",
    "inference_geo": "has a price of its own, which the route does not state",
}
"""What moves the price, in any of OpenAI's formats or in those of servers like it."""


def check_tier(fields: Mapping[str, Any]) -> None:
    """Refuses service tiers that cost more than what the route states."""
    tier = fields.get("service_tier")
    if tier is not None and tier not in PLAIN_TIERS:
        raise not_bounded("service_tier", f"{tier!r} has a price of its own, which the route does not state")


def tool_count(value: Any, where: str, kinds: frozenset[str]) -> int:
    """How many tools there are; all must be of these kinds, which run at the client."""
    if value is None:
        return 0
    tools = strict_json.object_list(value, where)
    for index, tool in enumerate(tools):
        kind = tool.get("type")
        if not isinstance(kind, str) or kind not in kinds:
            raise not_bounded(f"{where}[{index}].type", f"{kind!r} {AT_THE_PROVIDER}")
    return len(tools)


def credential(key: str) -> Headers:
    """How OpenAI takes its key."""
    return ((b"authorization", b"Bearer " + key.encode("utf-8")),)
