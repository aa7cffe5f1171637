"""What a Budget's policies make of what is spent: warnings, top-ups, exhaustion, and in what order the parked wake.

Pure: figures in, decisions out. Warnings and exhaustion look at what is spent alone, never at what is held: a hold may
still be settled for nothing.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from ambit.ledger.amounts import NOTHING, Resource, Vector, Window
from ambit.ledger.wire import TopUp

Bound = tuple[Window, Resource]
WAKE_EVERY_MS = 50
"""Between two sessions that one account wakes: at most 20 a second, so that waking is no stampede."""
SMALLEST_KEPT_MS = 7 * 24 * 3600 * 1000
"""How long it is known for sure how small calls were: a week has all of its days."""


class Said(msgspec.Struct, frozen=True, array_like=True):
    """The highest percentage of a limit that was warned of in the window that began at `begun_ms`."""

    begun_ms: int
    percent: int


def newly_reached(limit: int, spent: int, warn_at: Iterable[int], begun_ms: int, said: Said | None) -> tuple[int, ...]:
    """The percentages of a limit that `spent` has reached and nobody was warned of in this window, lowest first.

    A limit that was raised does not begin anew: each is said once in a window.
    """
    before = said.percent if said is not None and said.begun_ms == begun_ms else 0
    if spent <= 0:
        return ()
    return tuple(sorted({percent for percent in warn_at if percent > before and spent * 100 >= percent * limit}))


class Raise(msgspec.Struct, frozen=True, array_like=True):
    """How much more a limit allows in the one window that began at `begun_ms`."""

    begun_ms: int
    amount: int


def unapplied(top_ups: Iterable[TopUp], applied: Collection[str]) -> tuple[TopUp, ...]:
    """Those that were never applied, each id once: whatever is edited, taken away or written again under an id."""
    found: dict[str, TopUp] = {}
    for top_up in top_ups:
        if top_up.id not in applied:
            found.setdefault(top_up.id, top_up)
    return tuple(found.values())


def raised(raises: Mapping[Bound, Raise], bound: Bound, begun_ms: int) -> int:
    """How much more a limit allows in the window that began at `begun_ms`."""
    found = raises.get(bound)
    return found.amount if found is not None and found.begun_ms == begun_ms else 0


class SmallestCalls:
    """The least of each resource that a hold was granted for: by it an account knows the smallest useful call.

    Those of the last seven days count, up to twice as many. Where nothing was asked for since, what was known before
    stays known: an account that rested for a month does not take the first call after that for its smallest.
    """

    def __init__(self, since_ms: int = 0, recent: Vector = NOTHING, before: Vector = NOTHING) -> None:
        self.since_ms = since_ms
        """When `recent` began."""
        self.recent: Vector = dict(recent)
        self.before: Vector = dict(before)

    def saw(self, at_least: Vector, now_ms: int) -> None:
        """Learns of a hold that was granted: what it asked for at least."""
        if now_ms >= self.since_ms + SMALLEST_KEPT_MS:
            self.since_ms, self.before, self.recent = now_ms, self.before | self.recent, {}
        for index, amount in at_least.items():
            self.recent[index] = min(self.recent.get(index, amount), amount)

    def of(self, index: int) -> int:
        """That of one resource; of one that was never asked for, 1: any call may be useful yet."""
        return min((each[index] for each in (self.recent, self.before) if index in each), default=1)


def is_exhausted(window: Window, limit: int, spent: int, need: int, smallest: int) -> bool:
    """Whether a refusal of `need` means that the limit is exhausted: there is no room for the smallest useful call.

    A call that is larger than the whole limit is refused and exhausts nothing: no new window would help it. Nor does a
    Minute exhaust anything.
    """
    return window is not Window.MINUTE and need <= limit < spent + min(need, smallest)


def has_room(limit: int | None, spent: int, need: int) -> bool:
    """Whether a session that was parked for `need` may try again. Where it never will fit, it may, and is told so."""
    return limit is None or spent + need <= limit or need > limit


class Parked(msgspec.Struct, frozen=True, array_like=True):
    """For what a session waits: so much of a bound of the account that parked it."""

    window: Window
    resource: Resource
    need: int

    @property
    def bound(self) -> Bound:
        return self.window, self.resource


class Standing(NamedTuple):
    """How a bound stands that somebody waits for. No limit: nothing is in their way any more."""

    limit: int | None
    spent: int


class ParkingLot:
    """The sessions that one account has parked, in the order of their parking, and when the next may wake."""

    def __init__(self, waiting: Iterable[tuple[str, Parked]] = (), next_wake_ms: int = 0) -> None:
        self._waiting = dict(waiting)
        self.next_wake_ms = next_wake_ms
        """Before that, none wakes."""
        self._needs: dict[Bound, tuple[int, int]] = {}
        """Of each bound that somebody waits for, no more than the least need and no less than the largest."""
        self._measure()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def __contains__(self, path: str) -> bool:
        return path in self._waiting

    def waiting(self) -> list[tuple[str, Parked]]:
        """All of them, the longest waiting first."""
        return list(self._waiting.items())

    def bounds(self) -> Iterable[Bound]:
        """What somebody waits for."""
        return self._needs

    def with_room(self, standing: Callable[[Bound], Standing]) -> Iterator[str]:
        """Those that may try again, each by what it waits for itself, the longest waiting first.

        Where nobody may it is said without a look at each: a lot may be large, and is looked at for each that comes.
        """
        standings = {bound: standing(bound) for bound in self._needs}
        if not any(has_room(*standings[bound], need) for bound, needs in self._needs.items() for need in needs):
            return
        for path, parked in self._waiting.items():
            if has_room(*standings[parked.bound], parked.need):
                yield path
        self._measure()

    def park(self, path: str, parked: Parked) -> None:
        """Puts a session at the end; one that waits keeps its place."""
        self._note(self._waiting.setdefault(path, parked))

    def _note(self, parked: Parked) -> None:
        least, most = self._needs.get(parked.bound, (parked.need, parked.need))
        self._needs[parked.bound] = (min(least, parked.need), max(most, parked.need))

    def _measure(self) -> None:
        self._needs.clear()
        for parked in self._waiting.values():
            self._note(parked)

    def leave(self, path: str) -> None:
        """Takes a session out that has ended, or that somebody else wakes."""
        self._waiting.pop(path, None)

    def wake(self, path: str, now_ms: int) -> None:
        """Takes a session out, and has the next wait a moment."""
        del self._waiting[path]
        self.next_wake_ms = now_ms + WAKE_EVERY_MS
