"""How much a session's next call is likely to need. Pure.

Agents send a prompt that grows by each answer and tool result, so that the next call needs what the last one did and a
step more. Too little costs one commit (the hold is extended), too much costs room that others may have to wait for
until it is recalled.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from ambit.ledger.amounts import MAX_AMOUNT, RESOURCES, Amount, Resource, Vector

CALLS_REMEMBERED: Final = 4
"""Of each session: enough to see its steps, few enough to forget a prompt that was cut down since."""
_COUNTS: Final = frozenset({Resource.MODEL_CALLS, Resource.TOOL_CALLS, Resource.RETRIES})
"""A call is one call, however large."""


def likely_next(wanted: Sequence[Amount]) -> Amount | None:
    """What to hold for the call after these (what each wanted to hold, the oldest first); None where nothing is known.

    By resource, the most that one of them wanted, and on top the larger of one and a half times the largest step up and
    a part of it, the smaller the more is known: a half after one call, an eighth after four.
    """
    if not wanted:
        return None
    vectors = [amount.vector() for amount in wanted]
    part = 2 if len(vectors) == 1 else 4 if len(vectors) < CALLS_REMEMBERED else 8
    likely: Vector = {}
    for index, resource in enumerate(RESOURCES):
        values = [vector.get(index, 0) for vector in vectors]
        most = max(values)
        if resource not in _COUNTS:
            step = max((later - earlier for earlier, later in pairwise(values)), default=0)
            most += max(most // part, step * 3 // 2)
        likely[index] = min(most, MAX_AMOUNT)
    return Amount.of(likely)


def missing(want: Amount, held: Amount) -> Amount:
    """What of `want` is not held yet."""
    have = held.vector()
    return Amount.of(
        {index: amount - have.get(index, 0) for index, amount in want.vector().items() if amount > have.get(index, 0)}
    )
