"""What is counted, and how much of it: resources, windows, amounts, limits. Integers only.

An amount is a vector by resource. Inside the tree it is a plain tuple in the order of `RESOURCES`; on the wire it is an
`Amount`, whose names are the API's.
"""

from enum import StrEnum
from typing import Annotated

import msgspec

MAX_AMOUNT = 2**62
"""The largest amount of one operation: some 4.6 billion dollars in nano-dollars. Sums may be larger."""

Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_AMOUNT)]


class Resource(StrEnum):
    """What a limit counts. The values are the API's names."""

    USD = "usd"
    """Money, in nano-dollars."""
    TOKENS = "tokens"
    """Input and output tokens together, cached ones too."""
    MODEL_CALLS = "modelCalls"
    """Logical model calls; a gateway's own further attempts do not count."""
    RUNTIME = "runtime"
    """How long environments ran, in milliseconds."""


RESOURCES = tuple(Resource)
Vector = tuple[int, int, int, int]
"""An amount in the order of `RESOURCES`."""
NOTHING: Vector = (0, 0, 0, 0)


class Window(StrEnum):
    """The time over which a limit counts."""

    LIFETIME = "Lifetime"
    DAY = "Day"
    """The civil day of the account's time zone."""
    MINUTE = "Minute"


class Amount(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """How much of each resource: nano-dollars, tokens, calls, milliseconds."""

    usd_nanos: Count = msgspec.field(name="usd", default=0)
    tokens: Count = 0
    model_calls: Count = msgspec.field(name="modelCalls", default=0)
    runtime_ms: Count = msgspec.field(name="runtime", default=0)

    @classmethod
    def of(cls, vector: Vector) -> "Amount":
        """The amount of a vector."""
        return cls(*vector)

    def vector(self) -> Vector:
        """This amount in the order of `RESOURCES`."""
        return (self.usd_nanos, self.tokens, self.model_calls, self.runtime_ms)

    def __add__(self, other: "Amount") -> "Amount":
        return Amount.of(plus(self.vector(), other.vector()))

    def covers(self, other: "Amount") -> bool:
        """Whether `other` is at most this amount in every resource."""
        return all(mine >= theirs for mine, theirs in zip(self.vector(), other.vector(), strict=True))


class Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """At most `amount` of `resource` in each `window`, in the unit of the resource."""

    window: Window
    resource: Resource
    amount: Count


def plus(a: Vector, b: Vector) -> Vector:
    """The sum."""
    return (a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3])


def less(a: Vector, b: Vector) -> Vector:
    """What is left of `a` after `b`, nothing below zero."""
    return (max(a[0] - b[0], 0), max(a[1] - b[1], 0), max(a[2] - b[2], 0), max(a[3] - b[3], 0))


def least(a: Vector, b: Vector) -> Vector:
    """The smaller of each resource."""
    return (min(a[0], b[0]), min(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3]))


def describe(resource: Resource, amount: int) -> str:
    """An amount for people: `2.5 usd`, `1200 tokens`, `30.5 s of runtime`."""
    match resource:
        case Resource.USD:
            return f"{_decimal(amount, 9)} usd"
        case Resource.RUNTIME:
            return f"{_decimal(amount, 3)} s of runtime"
        case Resource.TOKENS | Resource.MODEL_CALLS:
            return f"{amount} {resource.value}"


def _decimal(amount: int, places: int) -> str:
    whole, part = divmod(amount, 10**places)
    return f"{whole}.{part:0{places}}".rstrip("0").rstrip(".")
