"""Answers in the words of version 1 of the wire, for components of the release before, while they are being replaced.

They read an enumeration's values and an amount's resources strictly: one word that they do not know, and they cannot
read the answers to a whole batch. Bounds are the ledger's own and do not depend on what such a component can read.
Deleted with version 1 itself.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from ambit.ledger import wire

_COUNTED: Final = frozenset({"usd", "tokens", "modelCalls", "runtime"})
_WINDOWS: Final = frozenset({"Lifetime", "Day", "Minute"})
_REASONS: Final = frozenset({"LimitExceeded", "SessionEnded", "AccountRemoved", "HoldExpired"})
_ENDS: Final = frozenset(
    {"Completed", "Failed", "Killed", "RuntimeExhausted", "Abandoned", "HostLost", "StartFailed", "AccountRemoved"}
)
_AMOUNTS: Final = ("amount", "spent", "held", "overrun")
Object = dict[str, Any]


def encode(ops: Sequence[object], results: Sequence[wire.AnyResult]) -> bytes:
    """The answer to a batch, as version 1 says it."""
    said = [_old(op, msgspec.to_builtins(result)) for op, result in zip(ops, results, strict=True)]
    return msgspec.json.encode({"results": said})


def _old(op: object, result: Object) -> Object:
    kind = result["result"]
    if kind in ("Refused", "Wait"):
        _denial(result)
        if isinstance(op, wire.Open):
            result["result"] = "Refused"  # opening never waited
    elif kind in ("Granted", "Settled"):
        _amounts(result)
    elif kind == "Usage":
        _usage(result)
    elif kind == "SessionClosed":
        _usage(result["usage"])
    elif kind == "Sessions":
        for usage in result["sessions"]:
            _usage(usage)
    return result


def _denial(denial: Object) -> None:
    _replace(denial, "reason", _REASONS.__contains__, "LimitExceeded")
    _replace(denial, "window", _WINDOWS.__contains__, None)
    _replace(denial, "resource", _COUNTED.__contains__, None)
    _replace(denial, "ended", _ENDS.__contains__, "Killed")


def _usage(usage: Object) -> None:
    _amounts(usage)
    usage["limits"] = [
        limit for limit in usage.get("limits", ()) if limit["window"] in _WINDOWS and limit["resource"] in _COUNTED
    ]
    for hold in usage.get("holds", ()):
        _amounts(hold)
    _replace(usage, "closedReason", _ENDS.__contains__, "Killed")


def _amounts(of: Object) -> None:
    for name in _AMOUNTS:
        if name in of:
            of[name] = {resource: amount for resource, amount in of[name].items() if resource in _COUNTED}


def _replace(of: Object, name: str, known: Callable[[object], bool], by: str | None) -> None:
    if of.get(name) is not None and not known(of[name]):
        of[name] = by
