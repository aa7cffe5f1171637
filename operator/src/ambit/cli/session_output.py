"""How a session is shown while it runs: as text for people, or as one JSON object a line for programs."""

import json
from typing import Any, Protocol

import click

from ambit.cli.table import aligned
from ambit.client import Ended, Opened


class SessionOutput(Protocol):
    """Turns what a session says into bytes for standard output."""

    def opened(self, opened: Opened) -> bytes: ...
    def output(self, text: str) -> bytes: ...
    def ended(self, opened: Opened, ended: Ended) -> bytes: ...


class Text:
    """The agent's output alone; what the session used goes to standard error."""

    def opened(self, opened: Opened) -> bytes:
        return b""

    def output(self, text: str) -> bytes:
        return text.encode()

    def ended(self, opened: Opened, ended: Ended) -> bytes:
        row: dict[str, str] = {
            "SESSION": f"{opened.namespace}/{opened.id}",
            "ENDED": ended.reason,
            # An isolate runs at once; what can be seen of it from outside is when it first answers.
            "CONTAINER RAN AFTER" if opened.environment == "container" else "FIRST ANSWER AFTER": (
                "-" if ended.start_ms is None else f"{ended.start_ms} ms"
            ),
        }
        if ended.usage is not None:
            row |= {
                "RUNTIME": ended.usage.runtime,
                "CALLS": str(ended.usage.model_calls),
                "TOKENS": str(ended.usage.tokens),
                "USD": ended.usage.usd,
            }
        click.echo("\n" + aligned(tuple(row), [tuple(row.values())]), err=True)
        if ended.message and not ended.ok:
            click.echo(ended.message, err=True)
        return b""


class JsonLines:
    """The gateway's own events (docs/design/0001-interfaces.md), each with its name as `event`."""

    def opened(self, opened: Opened) -> bytes:
        return _line(
            "opened",
            id=opened.id,
            namespace=opened.namespace,
            agent=opened.agent,
            environment=opened.environment,
            expiresInMs=opened.expires_in_ms,
        )

    def output(self, text: str) -> bytes:
        return _line("output", data=text)

    def ended(self, opened: Opened, ended: Ended) -> bytes:
        usage = ended.usage and {
            "usd": ended.usage.usd,
            "tokens": ended.usage.tokens,
            "modelCalls": ended.usage.model_calls,
            "runtime": ended.usage.runtime,
        }
        return _line(
            "ended",
            reason=ended.reason,
            message=ended.message,
            exitCode=ended.exit_code,
            status=ended.status,
            startMs=ended.start_ms,
            usage=usage,
        )


def _line(event: str, **fields: Any) -> bytes:
    return (json.dumps({"event": event, **fields}, ensure_ascii=False) + "\n").encode()
