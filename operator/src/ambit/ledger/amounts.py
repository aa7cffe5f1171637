"""What is counted, and how much of it: resources, windows, amounts, limits. Integers only.

An amount is a vector by resource. Inside the tree it is sparse (`Vector`), because most acts use three resources of
ten; on the wire it is an `Amount`, whose names are the API's.
"""

from collections.abc import Iterable
from enum import StrEnum
from operator import ge
from typing import Annotated

import msgspec

MAX_AMOUNT = 2**62
"""The largest amount that can be said, of one operation or a total: some 4.6 billion dollars in nano-dollars."""
MAX_AT_ONCE = 2**56
"""The largest amount of one hold or overrun: 72 million dollars in nano-dollars. More is absurd."""
MAX_TOTAL_BY_HOLDS = MAX_AMOUNT // 2
"""How high holds may bring a total. The rest is for what is settled beyond a hold: that is to be counted always."""

Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_AMOUNT)]


class Resource(StrEnum):
    """What a limit counts. The values are the API's names. The order is the journal's: new ones go last."""

    USD = "usd"
    """Money for models, in nano-dollars."""
    TOKENS = "tokens"
    """Input and output tokens together, cached ones too."""
    INPUT_TOKENS = "inputTokens"
    """Tokens of prompts, cached ones too."""
    OUTPUT_TOKENS = "outputTokens"
    """Tokens that models wrote, hidden reasoning too."""
    MODEL_CALLS = "modelCalls"
    """Logical model calls; a gateway's own further attempts do not count."""
    TOOL_CALLS = "toolCalls"
    """Calls of tools."""
    RETRIES = "retries"
    """Repeats of failed calls by the client."""
    RUNTIME = "runtime"
    """How long environments ran, in milliseconds."""
    GPU_TIME = "gpuTime"
    """How long GPUs were reserved, in milliseconds, each by itself."""
    PAYMENTS = "payments"
    """Money that agents paid to others, in nano-dollars. No part of `usd`."""


RESOURCES = tuple(Resource)
INDEX = {resource: index for index, resource in enumerate(RESOURCES)}
"""The place of a resource in a vector."""
Vector = dict[int, int]
"""An amount by the resource's place in `RESOURCES`, zeros left out. Never altered once made."""
NOTHING: Vector = {}


class Window(StrEnum):
    """The time over which a limit counts."""

    LIFETIME = "Lifetime"
    MONTH = "Month"
    """The civil month of the account's time zone."""
    WEEK = "Week"
    """From Monday's midnight (ISO 8601), in the account's time zone."""
    DAY = "Day"
    """The civil day of the account's time zone."""
    HOUR = "Hour"
    MINUTE = "Minute"
    """A rate: it exhausts nothing."""


class Amount(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """How much of each resource, in the order of `RESOURCES`: nano-dollars, tokens, calls, milliseconds."""

    usd_nanos: Count = msgspec.field(name="usd", default=0)
    tokens: Count = 0
    input_tokens: Count = msgspec.field(name="inputTokens", default=0)
    output_tokens: Count = msgspec.field(name="outputTokens", default=0)
    model_calls: Count = msgspec.field(name="modelCalls", default=0)
    tool_calls: Count = msgspec.field(name="toolCalls", default=0)
    retries: Count = 0
    runtime_ms: Count = msgspec.field(name="runtime", default=0)
    gpu_time_ms: Count = msgspec.field(name="gpuTime", default=0)
    payments_nanos: Count = msgspec.field(name="payments", default=0)

    @classmethod
    def of(cls, vector: Vector) -> "Amount":
        """The amount of a vector."""
        return cls(*[vector.get(index, 0) for index in range(len(RESOURCES))])

    def vector(self) -> Vector:
        """This amount without its zeros."""
        return {index: amount for index, amount in enumerate(msgspec.structs.astuple(self)) if amount}

    def __add__(self, other: "Amount") -> "Amount":
        return Amount.of(plus(self.vector(), other.vector()))

    def covers(self, other: "Amount") -> bool:
        """Whether `other` is at most this amount in every resource."""
        return all(map(ge, msgspec.structs.astuple(self), msgspec.structs.astuple(other)))


class Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """At most `amount` of `resource` in each `window`, in the unit of the resource."""

    window: Window
    resource: Resource
    amount: Count


def plus(a: Vector, b: Vector) -> Vector:
    """The sum."""
    total = dict(a)
    for index, amount in b.items():
        total[index] = total.get(index, 0) + amount
    return total


def minus(a: Vector, b: Vector) -> Vector:
    """The difference, which may be below zero, without its zeros."""
    return {index: left for index in a | b if (left := a.get(index, 0) - b.get(index, 0))}


def total(vectors: Iterable[Vector]) -> Vector:
    """The sum of all."""
    found: Vector = {}
    for vector in vectors:
        for index, amount in vector.items():
            found[index] = found.get(index, 0) + amount
    return found


def split(used: Vector, cover: Vector) -> tuple[Vector, Vector]:
    """What of `used` is within `cover`, and what is beyond it."""
    if covers(cover, used):
        return used, NOTHING
    within: Vector = {}
    beyond: Vector = {}
    for index, amount in used.items():
        covered = cover.get(index, 0)
        if amount <= covered:
            within[index] = amount
        else:
            beyond[index] = amount - covered
            if covered:
                within[index] = covered
    return within, beyond


def covers(a: Vector, b: Vector) -> bool:
    """Whether `b` is at most `a` in every resource."""
    for index, amount in b.items():  # noqa: SIM110 (`all` over a generator takes three times as long, twice a call)
        if a.get(index, 0) < amount:
            return False
    return True


def describe(resource: Resource, amount: int) -> str:
    """An amount for people: `2.5 usd`, `1200 tokens`, `30.5 s of runtime`."""
    match resource:
        case Resource.USD | Resource.PAYMENTS:
            return f"{_decimal(amount, 9)} {resource.value}"
        case Resource.RUNTIME | Resource.GPU_TIME:
            return f"{_decimal(amount, 3)} s of {resource.value}"
        case _:
            return f"{amount} {resource.value}"


def in_window(window: Window) -> str:
    """A window for people, after "in": `a day`, `an hour`, `its lifetime`."""
    if window is Window.LIFETIME:
        return "its lifetime"
    return f"{'an' if window is Window.HOUR else 'a'} {window.lower()}"


def _decimal(amount: int, places: int) -> str:
    whole, part = divmod(amount, 10**places)
    return f"{whole}.{part:0{places}}".rstrip("0").rstrip(".")
