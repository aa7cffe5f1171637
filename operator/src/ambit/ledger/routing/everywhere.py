"""Operations that concern every partition: what each is asked, and the one answer that comes of theirs. Pure."""

from collections.abc import Sequence

import msgspec

from ambit.ledger import wire


def shares(op: wire.AnyOperation, places: Sequence[int], partitions: int) -> list[wire.AnyOperation]:
    """What each partition is asked. `places`: of a Resume, where what was spent belongs.

    A partition in which nothing was spent since the backup is told to forget it: that there was nothing is what the
    reason, which stands beside it in the audit, is about.
    """
    if not isinstance(op, wire.Resume) or not op.spent:
        return [op] * partitions
    return [_resume(op, places, number) for number in range(partitions)]


def _resume(op: wire.Resume, places: Sequence[int], number: int) -> wire.Resume:
    spent = tuple(each for each, place in zip(op.spent, places, strict=True) if place == number)
    return msgspec.structs.replace(op, spent=spent, forget=op.forget or not spent)


def merged(answers: Sequence[wire.AnyResult]) -> wire.AnyResult:
    """One answer for all. A repeat finds some partitions done already, which refuse it: that is no failure of it."""
    if all(isinstance(each, wire.Sessions) for each in answers):
        found = [usage for each in answers if isinstance(each, wire.Sessions) for usage in each.sessions]
        return wire.Sessions(tuple(sorted(found, key=lambda usage: usage.path)))
    if any(isinstance(each, wire.Resumed) for each in answers):
        errors = [each for each in answers if not isinstance(each, wire.Resumed | wire.Invalid)]
        return errors[0] if errors else wire.Resumed()
    errors = [each for each in answers if not isinstance(each, wire.Sessions | wire.ClockAccepted)]
    return errors[0] if errors else answers[0]
