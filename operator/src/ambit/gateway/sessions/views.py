"""What callers are shown: server-sent events, and sessions as JSON. Amounts are the API's: dollars and durations."""

import json
from typing import Any

from ambit.api import names
from ambit.api.quantities import format_duration_ms, format_usd_nanos
from ambit.gateway.sessions.run import Ending, Run
from ambit.ledger import wire
from ambit.ledger.amounts import Amount, Resource


def opened(run: Run) -> bytes:
    """The event `opened`."""
    return _event(
        "opened",
        {
            "id": run.id,
            "namespace": run.namespace,
            "agent": run.agent,
            "environment": run.environment,
            "expiresInMs": run.runtime_bound_ms,
        },
    )


def output(text: str) -> bytes:
    """The event `output`."""
    return _event("output", {"data": text})


def ended(ending: Ending) -> bytes:
    """The event `ended`. What is not known is absent: `usage`, for example, where the ledger is away."""
    shown: dict[str, Any] = {
        "reason": ending.reason.value,
        "message": ending.message,
        "exitCode": ending.exit_code,
        "status": ending.status,
        "usage": None if ending.usage is None else amount(ending.usage),
        "startMs": ending.start_ms,
    }
    return _event("ended", {name: value for name, value in shown.items() if value is not None})


HEARTBEAT = b": still running\n\n"
"""A comment: it finds out a caller that went away without a word."""


def amount(used: Amount) -> dict[str, Any]:
    """`usd` in dollars and `runtime` as a duration (text), `tokens` and `modelCalls` as numbers."""
    return {
        "usd": format_usd_nanos(used.usd_nanos),
        "tokens": used.tokens,
        "modelCalls": used.model_calls,
        "runtime": format_duration_ms(used.runtime_ms),
    }


def session(usage: wire.Usage) -> dict[str, Any]:
    """One session."""
    _, namespace, name = names.AccountName.parse(usage.path)
    shown: dict[str, Any] = {
        "id": name,
        "namespace": namespace,
        "agent": agent_of(usage),
        "environment": usage.attributes.get(names.ENVIRONMENT_ATTRIBUTE, names.CONTAINER),
        "user": usage.attributes.get(names.USER_ATTRIBUTE),
        "state": usage.state.value,
        "reason": None if usage.closed_reason is None else usage.closed_reason.value,
        "message": usage.closed_message or None,
        "ageMs": usage.age_ms,
        "endedAgeMs": usage.closed_age_ms,
        "usage": amount(usage.spent),
        "held": amount(usage.held),
        "limits": {limit.resource.value: _limit(limit) for limit in usage.limits},
    }
    return {field: value for field, value in shown.items() if value is not None}


def agent_of(usage: wire.Usage) -> str:
    """The name of the session's Agent; empty for a Sandbox of its own."""
    return usage.attributes.get(names.AGENT_ATTRIBUTE, "").rpartition("/")[2]


def _limit(limit: wire.LimitUsage) -> int | str:
    match limit.resource:
        case Resource.USD | Resource.PAYMENTS:
            return format_usd_nanos(limit.limit)
        case Resource.RUNTIME | Resource.GPU_TIME:
            return format_duration_ms(limit.limit)
        case _:
            return limit.limit


def _event(name: str, data: dict[str, Any]) -> bytes:
    # JSON escapes line ends, so that one line of `data` always is enough.
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()
