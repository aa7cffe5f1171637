"""Operations that concern every partition: what each is asked, and the one answer that comes of theirs. Pure."""

from collections.abc import Mapping, Sequence

import msgspec

from ambit.ledger import wire

Phase = Mapping[int, wire.AnyOperation]
"""What some partitions are asked at once, by their numbers."""


def shares(op: wire.AnyOperation, places: Sequence[int | None], partitions: int) -> list[Phase]:
    """What each partition is asked, one phase after the other. `places`: of a Resume, where what was spent belongs.

    A partition in which nothing was spent since the backup is told to forget it, once the others have taken what was:
    an error among these must not have let others go on without it.
    """
    if not isinstance(op, wire.Resume) or not op.spent:
        return [dict.fromkeys(range(partitions), op)]
    spent = {
        number: tuple(each for each, place in zip(op.spent, places, strict=True) if place == number)
        for number in range(partitions)
    }
    return [
        {number: msgspec.structs.replace(op, spent=here) for number, here in spent.items() if here},
        {number: msgspec.structs.replace(op, spent=(), forget=True) for number, here in spent.items() if not here},
    ]


def error_of(answers: Sequence[wire.AnyResult]) -> wire.AnyResult | None:
    """What went wrong for certain. A repeat finds some partitions done, which call it invalid: that may be no error."""
    return next((each for each in answers if isinstance(each, wire.UnknownAccount | wire.Forbidden)), None)


def merged(answers: Sequence[wire.AnyResult]) -> wire.AnyResult:
    """One answer for all."""
    if all(isinstance(each, wire.Sessions) for each in answers):
        found = [usage for each in answers if isinstance(each, wire.Sessions) for usage in each.sessions]
        return wire.Sessions(tuple(sorted(found, key=lambda usage: usage.path)))
    done = [each for each in answers if isinstance(each, wire.Resumed | wire.ClockAccepted)]
    wrong = [each for each in answers if not isinstance(each, wire.Resumed | wire.ClockAccepted | wire.Invalid)]
    return next(iter([*wrong, *done, *answers]))
