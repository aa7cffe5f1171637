"""What an account allows, and the same prepared for admission: a table by resource, which like accounts share."""

from functools import lru_cache
from typing import NamedTuple

import msgspec

from ambit.ledger.amounts import INDEX, Limit, Vector, Window
from ambit.ledger.wire.vocabulary import Enforcement, HoldPolicy, TopUp, WhenExhausted

RUNNING_WINDOWS = tuple(window for window in Window if window is not Window.LIFETIME)
"""The windows that end, in the order in which accounts keep them."""
KEPT_WINDOWS = frozenset(RUNNING_WINDOWS) - {Window.MINUTE}
"""Those of which there is a history once they end. A Minute is a rate, and an account has half a million in a year."""
MINUTE_PLACE = RUNNING_WINDOWS.index(Window.MINUTE)
LIFETIME_PLACE = -1
"""Where a bound counts that never ends: in the account's totals alone."""


def place_of(window: Window) -> int:
    """Where accounts keep a window: its place in `RUNNING_WINDOWS`, or `LIFETIME_PLACE`."""
    return LIFETIME_PLACE if window is Window.LIFETIME else RUNNING_WINDOWS.index(window)


class Allowance(msgspec.Struct, frozen=True, array_like=True):
    """All that the operator, or who opens a session, says about an account. A new field goes last, with a default."""

    limits: tuple[Limit, ...] = ()
    concurrent_sessions: int | None = None
    enforcement: Enforcement = Enforcement.ENFORCE
    warn_at: tuple[int, ...] = ()
    top_ups: tuple[TopUp, ...] = ()
    when_exhausted: WhenExhausted = WhenExhausted.DENY
    holds: HoldPolicy = HoldPolicy.PROGRESSIVE
    user_limits: tuple[Limit, ...] | None = None

    def of_a_user(self) -> "Allowance":
        """What an Agent's allows each of its users: in Shadow as it is itself."""
        return Allowance(self.user_limits or (), enforcement=self.enforcement)


class Bound(NamedTuple):
    """A limit as admission reads it."""

    amount: int
    place: int
    """Of its window in `RUNNING_WINDOWS`, or `LIFETIME_PLACE`."""
    limit: Limit


Bounds = dict[int, tuple[Bound, ...]]
"""The bounds of each limited resource, by its place in a vector. Never altered once made."""


@lru_cache(maxsize=4096)
def interned(allowance: Allowance) -> Allowance:
    """One object for equal allowance: a million sessions of an Agent share it."""
    return allowance


@lru_cache(maxsize=4096)
def bounds_of(limits: tuple[Limit, ...]) -> Bounds:
    """The limits by resource."""
    found: Bounds = {}
    for limit in limits:
        index = INDEX[limit.resource]
        found[index] = (*found.get(index, ()), Bound(limit.amount, place_of(limit.window), limit))
    return found


@lru_cache(maxsize=4096)
def lifetime_ceilings(limits: tuple[Limit, ...]) -> Vector:
    """The limits of what counts its lifetime alone, by resource. One object for all that are limited alike."""
    return {index: min(bound.amount for bound in bounds) for index, bounds in bounds_of(limits).items()}


def tightened(limits: tuple[Limit, ...], by: tuple[Limit, ...]) -> tuple[Limit, ...]:
    """`limits` and those of a lifetime in `by`: the smaller where both limit the same."""
    amounts = {(limit.window, limit.resource): limit.amount for limit in limits}
    for limit in by:
        if limit.window is Window.LIFETIME:
            key = (limit.window, limit.resource)
            amounts[key] = min(amounts.get(key, limit.amount), limit.amount)
    return tuple(Limit(window, resource, amount) for (window, resource), amount in amounts.items())
