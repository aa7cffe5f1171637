"""What an answer says of the backend that gave it. Pure."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from ambit.api.model_route import FallbackCause
from ambit.gateway.server.http import Headers

KEY_REFUSED: Final = 401
RATE_LIMITED: Final = 429
LONGEST_REST_S: Final = 60.0
"""However much longer a provider asks to be left alone: it is tried again, and says so again."""


def failure_of(status: int) -> FallbackCause | None:
    """How the backend failed the call that it answered so; None where it did not, also where it refused what the client
    wrote. 401 is never the client's doing: the key is the route's.
    """
    if status == RATE_LIMITED:
        return FallbackCause.RATE_LIMITED
    return FallbackCause.UNAVAILABLE if status == KEY_REFUSED or status >= 500 else None


def retry_after_s(headers: Headers, now: datetime) -> float | None:
    """How long the provider asks to be left alone, at most a minute; None where it does not say, or not legibly.

    `retry-after-ms` is OpenAI's; `retry-after` is in seconds or a date (RFC 9110 10.2.3).
    """
    said = dict(reversed(headers))  # the first of several
    asked_s = _seconds(said.get(b"retry-after-ms"), 1000)
    if asked_s is None:
        asked_s = _seconds(said.get(b"retry-after"), 1)
    if asked_s is None:
        asked_s = _until(said.get(b"retry-after"), now)
    return None if asked_s is None else max(0.0, min(LONGEST_REST_S, asked_s))


def _seconds(value: bytes | None, per_second: int) -> float | None:
    if value is None or not value.isdigit() or len(value) > 12:
        return None
    return int(value) / per_second


def _until(value: bytes | None, now: datetime) -> float | None:
    if value is None:
        return None
    try:
        at = parsedate_to_datetime(value.decode("ascii"))
    except (ValueError, UnicodeDecodeError):
        return None
    return (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds()
