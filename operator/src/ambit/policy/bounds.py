"""A session's bounds, as integers, and the rule that they may only be tightened."""

from dataclasses import dataclass
from typing import Self

from ambit.api.common import Bounds, BoundsOverride
from ambit.api.quantities import (
    format_count,
    format_duration_ms,
    format_usd_nanos,
    parse_count,
    parse_duration_ms,
    parse_usd_nanos,
)


@dataclass(frozen=True)
class SessionBounds:
    """What one session may use at most; the limits (Lifetime) of its account."""

    usd_nanos: int
    tokens: int
    model_calls: int
    runtime_ms: int

    @classmethod
    def of(cls, bounds: Bounds) -> Self:
        return cls(
            usd_nanos=parse_usd_nanos(bounds.usd),
            tokens=parse_count(bounds.tokens),
            model_calls=parse_count(bounds.model_calls),
            runtime_ms=parse_duration_ms(bounds.runtime),
        )


DEFAULT_BOUNDS = SessionBounds.of(Bounds())
"""Of a Sandbox without an Agent."""


@dataclass(frozen=True)
class BoundAbove:
    """A bound that was asked for lies above the one that holds."""

    resource: str
    asked: str
    allowed: str

    @property
    def message(self) -> str:
        return (
            f"bounds.{self.resource} asks for {self.asked}, and the Agent allows {self.allowed}: bounds may only be"
            f" tightened; ask for at most {self.allowed}, or raise the Agent's spec.bounds.{self.resource}"
        )


def override(bounds: SessionBounds, asked: BoundsOverride | None) -> SessionBounds:
    """`bounds` with those that are asked for in their place, whether tighter or not (a Sandbox without an Agent)."""
    if asked is None:
        return bounds
    return SessionBounds(
        usd_nanos=bounds.usd_nanos if asked.usd is None else parse_usd_nanos(asked.usd),
        tokens=bounds.tokens if asked.tokens is None else parse_count(asked.tokens),
        model_calls=bounds.model_calls if asked.model_calls is None else parse_count(asked.model_calls),
        runtime_ms=bounds.runtime_ms if asked.runtime is None else parse_duration_ms(asked.runtime),
    )


def tighten(bounds: SessionBounds, asked: BoundsOverride | None) -> SessionBounds | BoundAbove:
    """`bounds` with those that are asked for in their place, or the first of these that lies above its bound."""
    new = override(bounds, asked)
    if new.runtime_ms > bounds.runtime_ms:
        return BoundAbove("runtime", format_duration_ms(new.runtime_ms), format_duration_ms(bounds.runtime_ms))
    if new.model_calls > bounds.model_calls:
        return BoundAbove("modelCalls", format_count(new.model_calls), format_count(bounds.model_calls))
    if new.tokens > bounds.tokens:
        return BoundAbove("tokens", format_count(new.tokens), format_count(bounds.tokens))
    if new.usd_nanos > bounds.usd_nanos:
        return BoundAbove("usd", format_usd_nanos(new.usd_nanos), format_usd_nanos(bounds.usd_nanos))
    return new
