"""A window that runs, as what the account's totals were when it began.

What a window has seen is the totals less this baseline; so a hold changes one vector per account, not one per window.
"""

from functools import lru_cache
from operator import add
from typing import NamedTuple

import msgspec

from ambit.ledger.allowance import RUNNING_WINDOWS
from ambit.ledger.amounts import RESOURCES, Vector, Window
from ambit.ledger.windows import Span, window_after, window_at

Totals = tuple[int, ...]
"""A vector of every resource."""
ZEROS: Totals = (0,) * len(RESOURCES)


class Running(msgspec.Struct, frozen=True, array_like=True):
    """One window of one account. Accounts that began it alike share the object."""

    start_ms: int
    end_ms: int
    zone: str
    """The zone in which it is measured: that of the account when it began."""
    spent: Totals
    """What the account had spent when this window began, and has been charged since for what was granted before."""
    held: Totals
    """What of the account's holds was granted before this window began, and is still held."""
    taken: Totals
    """Both together, as admission needs it."""

    def shifted(self, spent: Vector, freed: Vector) -> "Running":
        """With what was counted since and belongs to the time before it: a signed amount spent, one no longer held."""
        return running(
            self.start_ms, self.end_ms, self.zone, _added(self.spent, spent, 1), _added(self.held, freed, -1)
        )


def running(start_ms: int, end_ms: int, zone: str, spent: Totals, held: Totals) -> Running:
    """A window with a baseline."""
    return Running(start_ms, end_ms, zone, spent, held, tuple(map(add, spent, held)))


class Ended(NamedTuple):
    """A window of an account that is over, and what it has seen spent."""

    window: Window
    start_ms: int
    end_ms: int
    spent: Vector


def begun(zone: str, now_ms: int) -> tuple[Running, ...]:
    """The windows of an account that has counted nothing yet."""
    return tuple(_fresh(window, zone, window_at(window, zone, now_ms)) for window in RUNNING_WINDOWS)


def _fresh(window: Window, zone: str, span: Span) -> Running:
    return shared(span.start_ms, _end(window, span), zone)


@lru_cache(maxsize=4096)
def shared(start_ms: int, end_ms: int, zone: str) -> Running:
    """A window of an account that has counted nothing before it. One object for all."""
    return Running(start_ms, end_ms, zone, ZEROS, ZEROS, ZEROS)


def following(window: Window, over: Running, zone: str, now_ms: int, spent: Totals, held: Totals) -> Running:
    """The window of `now_ms`, after one that is over, where the account's totals stand as given."""
    span = window_after(window, over.end_ms, over.zone, zone, now_ms)
    if spent == ZEROS and held == ZEROS:
        return _fresh(window, zone, span)
    return running(span.start_ms, _end(window, span), zone, spent, held)


def _end(window: Window, span: Span) -> int:
    if span.end_ms is None:
        raise ValueError(f"a {window} has no end")
    return span.end_ms


def _added(totals: Totals, amounts: Vector, sign: int) -> Totals:
    if not amounts:
        return totals
    changed = list(totals)
    for index, amount in amounts.items():
        changed[index] += sign * amount
    return tuple(changed)
