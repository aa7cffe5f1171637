"""What the ledger warns of, kept until a response of the session can say it.

The ledger says each warning once in its window, and mostly when a call is settled, after its response has gone: the
session's next response carries it.
"""

from typing import Final

from ambit.gateway.server.http import Headers
from ambit.ledger.wire import Warned
from ambit.telemetry import metrics

HEADER: Final = b"x-ambit-warning"
MAX_SESSIONS: Final = 10_000
"""A session that makes no further call leaves its warnings here; the oldest are dropped first."""


class Warnings:
    """By session, what its next response says."""

    def __init__(self) -> None:
        self._by_session: dict[str, dict[Warned, None]] = {}

    def add(self, session: str, warnings: tuple[Warned, ...]) -> None:
        """Notes what the ledger said to an operation of this session."""
        if not warnings:
            return
        for warning in warnings:
            metrics.GATEWAY_WARNINGS.labels(warning.resource, warning.window, str(warning.percent)).inc()
        self._by_session.setdefault(session, {}).update(dict.fromkeys(warnings))
        if len(self._by_session) > MAX_SESSIONS:
            del self._by_session[next(iter(self._by_session))]

    def take(self, session: str) -> Headers:
        """The headers of the response that is being written: each warning once."""
        return tuple((HEADER, _text(warning)) for warning in self._by_session.pop(session, ()))


def _text(warning: Warned) -> bytes:
    """`budget/team-a/research; resource=usd; window=Day; percent=80`."""
    return (
        f"{warning.account}; resource={warning.resource.value}; window={warning.window.value}; "
        f"percent={warning.percent}"
    ).encode("ascii", "backslashreplace")
