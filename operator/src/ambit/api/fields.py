"""The field types that several kinds share: names, amounts, durations, with their rules.

Lengths bound what a CEL rule may cost; where a user is likely to meet a bound, it is a rule with a message and the
length lies above it.
"""

from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import MaxLen
from pydantic import AfterValidator, BeforeValidator

from ambit.api.base import Rule
from ambit.api.quantities import parse_count, parse_duration_ms, parse_price_picos_per_token, parse_usd_nanos


@dataclass(frozen=True)
class IntOrString:
    """The apiserver takes a whole number or a string; the model keeps the string."""


def _as_string(value: Any) -> Any:
    """A whole number as it is written (a bool is one to Python, not to us); the rest is for the type to judge."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _checked(parse: Any) -> AfterValidator:
    def check(written: str) -> str:
        parse(written)
        return written

    return AfterValidator(check)


MAX_USD = "1G"
MAX_COUNT = "1P"

Usd = Annotated[
    str,
    BeforeValidator(_as_string),
    _checked(parse_usd_nanos),
    IntOrString(),
    MaxLen(64),
    Rule(
        f"isQuantity(string(self)) && !quantity(string(self)).isLessThan(quantity('0'))"
        f" && !quantity(string(self)).isGreaterThan(quantity('{MAX_USD}'))",
        f'write US dollars as a quantity from 0 to {MAX_USD}, such as "2500" or "0.05"; finer than a nano-dollar is'
        " rounded up to one",
    ),
]
"""Money in US dollars."""

Count = Annotated[
    str,
    BeforeValidator(_as_string),
    _checked(parse_count),
    IntOrString(),
    MaxLen(64),
    Rule(
        "isQuantity(string(self)) && quantity(string(self)).isInteger()"
        " && !quantity(string(self)).isLessThan(quantity('0'))"
        f" && !quantity(string(self)).isGreaterThan(quantity('{MAX_COUNT}'))",
        f"write a whole number from 0 to {MAX_COUNT}, such as 100, 500k or 2M",
    ),
]
"""A whole number of things."""


def _between(least: int, most: int) -> AfterValidator:
    def check(number: int) -> int:
        if not least <= number <= most:
            raise ValueError(f"write a number from {least} to {most}")
        return number

    return AfterValidator(check)


MAX_SESSIONS = 1_000_000
SessionCount = Annotated[
    int,
    _between(0, MAX_SESSIONS),
    Rule(f"self >= 0 && self <= {MAX_SESSIONS}", f"write a number of sessions from 0 to {MAX_SESSIONS}"),
]
"""How many sessions at once."""

Priority = Annotated[
    int, _between(0, 100), Rule("self >= 0 && self <= 100", "write a priority from 0 (called first) to 100")
]
"""Which comes first; the lowest number does."""

Weight = Annotated[
    int,
    _between(1, 1000),
    Rule("self >= 1 && self <= 1000", "write a weight from 1 to 1000; to call a backend no more, take it out"),
]
"""A share among equals."""

MAX_CALLS = 100_000
CallCount = Annotated[
    int,
    _between(1, MAX_CALLS),
    Rule(f"self >= 1 && self <= {MAX_CALLS}", f"write a number of calls from 1 to {MAX_CALLS}"),
]
"""How many calls at once."""

Percent = Annotated[
    int, _between(1, 100), Rule("self >= 1 && self <= 100", "write percentages from 1 to 100, such as [50, 80, 95]")
]
"""A part of a limit."""

DURATION_CEL = "self.matches('^([0-9]{1,5}(h|m|s|ms)){1,4}$')"
Duration = Annotated[
    str,
    _checked(parse_duration_ms),
    MaxLen(64),
    Rule(DURATION_CEL, "write a duration of h, m, s and ms with whole numbers, such as 30m, 1h30m or 45s"),
]
"""A length of time (GEP-2257)."""

UserName = Annotated[
    str,
    MaxLen(512),
    Rule("self.size() >= 1 && self.size() <= 253", "write the user's name in 1 to 253 characters"),
]
"""Who a session runs for, as the platform names its users."""

UsageLabel = Annotated[
    str,
    MaxLen(512),
    Rule("self.size() >= 1 && self.size() <= 63", "write a label's value in 1 to 63 characters"),
]
"""A word by which usage is told apart."""

Amount = Annotated[
    str,
    BeforeValidator(_as_string),
    IntOrString(),
    MaxLen(64),
    Rule(
        f"isQuantity(string(self)) || {DURATION_CEL.replace('self', 'string(self)')}",
        'write an amount of the resource, such as "500", 2M or 10h',
    ),
]
"""An amount of a resource that another field names: the rules of both together say how it is written."""

Price = Annotated[
    str,
    BeforeValidator(_as_string),
    _checked(parse_price_picos_per_token),
    IntOrString(),
    MaxLen(64),
    Rule(
        r"string(self).matches('^[0-9]{1,6}([.][0-9]{1,6})?$')",
        'write US dollars per million tokens as a plain number with at most six decimals, in quotes: "0.30"',
    ),
]
"""US dollars per million tokens."""

Quantity = Annotated[
    str,
    BeforeValidator(_as_string),
    IntOrString(),
    MaxLen(64),
    Rule("isQuantity(string(self))", "write a Kubernetes quantity, such as 500m, 2 or 1Gi"),
]
"""A Kubernetes resource quantity, passed on to the Pod as it is."""

Name = Annotated[
    str,
    MaxLen(512),
    Rule(
        "self.size() <= 253 && self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",
        "write the name of an object: lower-case letters, digits, '-' and '.', at most 253 characters",
    ),
]
"""The name of another object."""

Namespace = Annotated[
    str,
    MaxLen(512),
    Rule(
        "self.size() <= 63 && self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
        "write the name of a namespace: lower-case letters, digits and '-', at most 63 characters",
    ),
]
"""The name of a namespace."""

DataKey = Annotated[
    str,
    MaxLen(512),
    Rule(
        "self.size() <= 253 && self.matches('^[-._a-zA-Z0-9]+$')",
        "write a key of the Secret or ConfigMap: letters, digits, '-', '_' and '.', at most 253 characters",
    ),
]
"""A key of a Secret or ConfigMap."""
