"""Speaking with a ledger that is one version older: what it can read, or an answer in its place.

Used while a ledger is being replaced. What an old ledger does not count is left out of amounts: it has no limit there.
What it could not keep is refused here, so that no bound that was asked for is silently weaker. Both are deleted with
version 1 itself.
"""

from dataclasses import dataclass
from typing import Any, Final

import msgspec

_FIELDS: Final[dict[str, frozenset[str]]] = {
    "putAccount": frozenset({"path", "limits", "parent", "timeZone"}),
    "removeAccount": frozenset({"path"}),
    "open": frozenset({"path", "parent", "graceMs", "limits", "attributes"}),
    "reserve": frozenset({"id", "path", "want", "atLeast", "expiresInMs"}),
    "extend": frozenset({"id", "sequence", "expiresInMs", "want", "atLeast"}),
    "settle": frozenset({"id", "used"}),
    "release": frozenset({"id", "reason"}),
    "close": frozenset({"path", "reason", "message"}),
    "kill": frozenset({"path", "reason", "by"}),
    "usage": frozenset({"path"}),
    "sessions": frozenset({"under", "state"}),
}
_LEFT_OUT: Final[dict[str, frozenset[str]]] = {
    "putAccount": frozenset({"warnAt", "generation"}),  # nobody is warned meanwhile, nor told which one asked
    "sessions": frozenset({"atMost", "after"}),  # it answers with all of them
    "open": frozenset({"user", "labels"}),  # an Agent has no limits by user there; usage is not told apart by label
}
_AMOUNTS: Final = ("want", "atLeast", "used")
_COUNTED: Final = frozenset({"usd", "tokens", "modelCalls", "runtime"})
_WINDOWS: Final = frozenset({"Lifetime", "Day", "Minute"})


@dataclass(frozen=True, slots=True)
class Translated:
    """A batch in the words of version 1."""

    body: bytes
    instead: dict[int, str]
    """By place in the batch, why an operation was not sent."""

    def answer(self, body: bytes) -> bytes:
        """The old ledger's answer, with those of the operations that it was not sent."""
        results: list[msgspec.Raw] = list(_results.decode(body).results)
        for place in sorted(self.instead):  # ascending, so that each is the place in the whole batch
            refusal = {"result": "Invalid", "message": self.instead[place]}
            results.insert(place, msgspec.Raw(msgspec.json.encode(refusal)))
        return msgspec.json.encode(_Results(results))


class _Results(msgspec.Struct):
    results: list[msgspec.Raw]


class _Operations(msgspec.Struct):
    ops: list[dict[str, Any]]


_results = msgspec.json.Decoder(_Results)
_operations = msgspec.json.Decoder(_Operations)


def translate(body: bytes) -> Translated:
    """A batch of version 2 for a ledger of version 1."""
    ops: list[dict[str, Any]] = []
    instead: dict[int, str] = {}
    for place, op in enumerate(_operations.decode(body).ops):
        cannot = _what_is_new(op)
        if cannot is None:
            ops.append(_in_old_words(op))
        else:
            instead[place] = f"the ledger still speaks version 1, which has no {cannot}: it is being replaced"
    return Translated(msgspec.json.encode(_Operations(ops)), instead)


def _what_is_new(op: dict[str, Any]) -> str | None:
    """What version 1 cannot do of this operation, if anything."""
    name = op["op"]
    fields = _FIELDS.get(name)
    if fields is None:
        return name
    new = op.keys() - fields - _LEFT_OUT.get(name, frozenset()) - {"op"}
    if new:
        return f"{min(new)} in {name}"
    for limit in op.get("limits", ()):
        if limit["window"] not in _WINDOWS or limit["resource"] not in _COUNTED:
            return f"limit of {limit['resource']} by {limit['window']}"
    return None


def _in_old_words(op: dict[str, Any]) -> dict[str, Any]:
    dropped = _LEFT_OUT.get(op["op"], frozenset())
    kept = {name: value for name, value in op.items() if name not in dropped}
    for name in _AMOUNTS:
        if name in kept:
            kept[name] = {resource: amount for resource, amount in kept[name].items() if resource in _COUNTED}
    return kept
