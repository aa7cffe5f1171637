"""Reads JSON so that no other reader can see something else in it, and says which field is wrong."""

import json
import math
from collections.abc import Mapping
from typing import Any, Final, NoReturn, cast

import msgspec

from ambit.gateway.models.wire_format import RefusedCall
from ambit.telemetry.reasons import Refusal

_encoder: Final = msgspec.json.Encoder()
_MAX_INT: Final = 2**64 - 1


def malformed(message: str, field: str | None = None) -> RefusedCall:
    """400: not JSON, ambiguous, or of the wrong type."""
    return RefusedCall(400, Refusal.MALFORMED, message, field=field)


def not_bounded(field: str, why: str) -> RefusedCall:
    """403: asks for something whose bill cannot be bounded before it is sent."""
    return RefusedCall(403, Refusal.FEATURE_NOT_BOUNDED, f"{field}: {why}", field=field)


def decode_object(body: bytes) -> dict[str, Any]:
    """One JSON object, without duplicate keys at any depth, NaN, infinities, or numbers that lose digits on the way.

    Raises RefusedCall.
    """
    try:
        decoded: Any = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_bounded_int,
        )
    except RefusedCall:
        raise
    except RecursionError as error:
        raise malformed("the request's body is nested too deeply") from error
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError, too
        raise malformed(f"the request's body is not JSON in UTF-8: {error}") from error
    if not isinstance(decoded, dict):
        raise malformed("the request's body is not a JSON object")
    return cast(dict[str, Any], decoded)


def encode(value: Any) -> bytes:
    """Compact JSON in UTF-8. Raises RefusedCall for text that has no UTF-8 (a lone surrogate)."""
    try:
        return _encoder.encode(value)
    except UnicodeEncodeError as error:
        raise malformed("the request holds half of a surrogate pair, which is no character") from error


def check_known(fields: Mapping[str, Any], known: frozenset[str], where: str) -> None:
    """Refuses fields that are not known to cost nothing beyond the bound; null counts as absent."""
    for name, value in fields.items():
        if name not in known and value is not None:
            raise not_bounded(
                f"{where}{name}", "the gateway does not know what this field may cost, so it is not passed on"
            )


def text_field(fields: Mapping[str, Any], name: str) -> str:
    """A required string."""
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise malformed(f"{name}: write a non-empty string", name)
    return value


def flag(fields: Mapping[str, Any], name: str) -> bool:
    """An optional boolean; absent or null is False."""
    value = fields.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise malformed(f"{name}: write true or false", name)
    return value


def positive_int(fields: Mapping[str, Any], name: str, where: str = "") -> int | None:
    """An optional whole number of at least 1; `where` stands before the name in what is said of it."""
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise malformed(f"{where}{name}: write a whole number of at least 1", f"{where}{name}")
    return value


def object_list(value: Any, name: str) -> list[dict[str, Any]]:
    """A list of objects."""
    if not isinstance(value, list):
        raise malformed(f"{name}: write a list", name)
    items = cast(list[Any], value)
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            raise malformed(f"{name}[{index}]: write an object", f"{name}[{index}]")
    return cast(list[dict[str, Any]], items)


def an_object(value: Any, name: str) -> dict[str, Any]:
    """An object."""
    if not isinstance(value, dict):
        raise malformed(f"{name}: write an object", name)
    return cast(dict[str, Any], value)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise malformed(f"the key {key!r} stands twice in one object", key)
            seen.add(key)
    return made


def _no_constant(written: str) -> NoReturn:
    raise malformed(f"{written} is not JSON")


def _finite(written: str) -> float:
    value = float(written)
    if not math.isfinite(value):
        raise malformed(f"the number {written[:40]} is too large")
    return value


def _bounded_int(written: str) -> int:
    value = int(written) if len(written) <= 20 else _MAX_INT + 1
    if not -(2**63) <= value <= _MAX_INT:
        raise malformed(f"the number {written[:40]} is too large")
    return value
