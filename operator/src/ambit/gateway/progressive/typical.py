"""How much output calls like this one have needed: the first slice of the next one's hold.

A slice that is too small has many streams begin that the budget cannot carry to their end: all of them take their next
slices until the room is gone, and none finishes. One that is as large as what such calls need has no more begin than
can end; the others wait for their turn. So a hold begins with what has been seen, and with the whole bound while
nothing has.
"""

from collections import OrderedDict, deque
from typing import Final

from ambit.gateway.progressive.slices import LEAD_TOKENS, SLICE_TOKENS

CALLS_REMEMBERED: Final = 16
CALLS_NEEDED: Final = 4
"""Fewer say nothing."""
LEAST_SLICE_TOKENS: Final = SLICE_TOKENS // 2
MAX_KEYS: Final = 10_000
"""How many kinds of calls are remembered; the one that was seen longest ago is forgotten first."""
Key = tuple[str, ...]


class TypicalOutput:
    """What calls needed, by their kinds: the narrowest kind that is known well enough speaks for a call."""

    def __init__(self) -> None:
        self._needed: OrderedDict[Key, deque[int]] = OrderedDict()

    def of(self, kinds: tuple[Key, ...]) -> int | None:
        """Output tokens that all but one of the last calls of the first known kind stayed below, and a quarter on top;
        None where too little is known.
        """
        for kind in kinds:
            needed = self._needed.get(kind)
            if needed is not None and len(needed) >= CALLS_NEEDED:
                most = sorted(needed)[-2]
                return max(LEAST_SLICE_TOKENS, most + most // 4 + LEAD_TOKENS)
        return None

    def note(self, kinds: tuple[Key, ...], needed: int) -> None:
        """A call of these kinds has ended, and needed so much."""
        for kind in kinds:
            known = self._needed.setdefault(kind, deque(maxlen=CALLS_REMEMBERED))
            known.append(needed)
            self._needed.move_to_end(kind)
        while len(self._needed) > MAX_KEYS:
            self._needed.popitem(last=False)
