"""What a session was, read from the events that `ambit run --output json` prints, one a line."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from ambit.api.quantities import parse_duration_ms, parse_usd_nanos

_REFUSED: Final = re.compile(r"^refused status=(?P<status>\d+) (?P<fields>.*)$", re.MULTILINE)
"""The line by which the quickstart's agents say that a call was refused: `refused status=402 account=… limit=… …`."""


class UnreadableEvents(Exception):
    """What was printed is not a session's events from `opened` to `ended`."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a session has used."""

    usd_nanos: int
    tokens: int
    model_calls: int
    runtime_ms: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refused call, as the agent itself saw it. Amounts as they stand in the error."""

    status: int
    account: str
    limit: str
    spent: str
    resets_at: str

    @property
    def is_complete(self) -> bool:
        """Whether it says all that a user needs to know."""
        return all(
            said not in {"", "None", "null", "undefined"}
            for said in (self.account, self.limit, self.spent, self.resets_at)
        )


@dataclass(frozen=True, slots=True)
class Session:
    """A session that has ended. `start_ms`: from the request until its container ran, or its isolate's first answer."""

    id: str
    agent: str
    environment: str
    output: str
    reason: str
    message: str
    exit_code: int | None
    start_ms: int | None
    usage: Usage

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """The refusals that the agent told of."""
        return tuple(_refusal(match) for match in _REFUSED.finditer(self.output))


def read_session(lines: Iterable[str]) -> Session:
    """A session out of its events. Raises UnreadableEvents."""
    opened: dict[str, Any] | None = None
    ended: dict[str, Any] | None = None
    output: list[str] = []
    for event in map(read_event, lines):
        match event.get("event"):
            case "opened":
                opened = event
            case "output":
                output.append(event["data"])
            case "ended":
                ended = event
            case other:
                raise UnreadableEvents(f"there is no event {other!r}")
    if opened is None or ended is None:
        missing = "opened" if opened is None else "ended"
        raise UnreadableEvents(f"the session has no event {missing!r}; its output was: {''.join(output)[-500:]!r}")
    try:
        return Session(
            id=opened["id"],
            agent=opened["agent"],
            environment=opened["environment"],
            output="".join(output),
            reason=ended["reason"],
            message=ended["message"],
            exit_code=ended.get("exitCode"),
            start_ms=ended.get("startMs"),
            usage=_usage(ended["usage"]),
        )
    except (KeyError, TypeError) as error:
        raise UnreadableEvents(f"an event lacks {error}: {opened} … {ended}") from error


def read_event(line: str) -> dict[str, Any]:
    """One event. Raises UnreadableEvents."""
    try:
        event: Any = json.loads(line)
    except json.JSONDecodeError as error:
        raise UnreadableEvents(f"not an event: {line!r}") from error
    match event:
        case {"event": str()}:
            return event
        case _:
            raise UnreadableEvents(f"not an event: {line!r}")


def _usage(said: dict[str, Any]) -> Usage:
    return Usage(
        usd_nanos=parse_usd_nanos(said["usd"]),
        tokens=said["tokens"],
        model_calls=said["modelCalls"],
        runtime_ms=parse_duration_ms(said["runtime"]),
    )


def _refusal(match: re.Match[str]) -> Refusal:
    fields = dict(part.split("=", 1) for part in match["fields"].split() if "=" in part)
    return Refusal(
        status=int(match["status"]),
        account=fields.get("account", ""),
        limit=fields.get("limit", ""),
        spent=fields.get("spent", ""),
        resets_at=fields.get("resetsAt", ""),
    )
