"""Whether there is room: the one place that decides what is admitted. Pure; it changes nothing."""

from collections.abc import Sequence
from typing import TypeVar

from ambit.ledger.accounts import Account, Counter
from ambit.ledger.amounts import INDEX, Limit, Vector, Window, describe
from ambit.ledger.wire import RefusalReason, Refused, Wait

D = TypeVar("D", Refused, Wait)


def admit(chain: Sequence[Account], want: Vector, at_least: Vector, now_ms: int) -> Vector | Refused | Wait:
    """How much may be held on every account of `chain` at once: at most `want`, at least `at_least`, or why not.

    `Refused` where what is spent leaves no room, which nothing but a new window or limit changes; `Wait` where room is
    only held by others, or the window is a Minute. Refused comes before Wait, and the nearest account before others.
    """
    room = dict(want)
    wait: Wait | None = None
    for account in chain:
        for limit in account.limits:
            index = INDEX[limit.resource]
            if index not in want:
                continue
            counter = account.counter(limit.window, now_ms)
            free = max(limit.amount - counter.spent.get(index, 0) - counter.held.get(index, 0), 0)
            need = at_least.get(index, 0)
            if free < need:
                if _is_final(limit, counter.spent.get(index, 0), need):
                    return _deny(Refused, account, limit, counter, need, now_ms)
                wait = wait or _deny(Wait, account, limit, counter, need, now_ms)
            room[index] = min(room[index], free)
    return wait or {index: amount for index, amount in room.items() if amount}


def _is_final(limit: Limit, spent: int, need: int) -> bool:
    # A Minute window exhausts nothing: its next one has room, unless the need is larger than any minute's.
    spent_for_good = 0 if limit.window is Window.MINUTE else spent
    return spent_for_good + need > limit.amount


def _deny(answer: type[D], account: Account, limit: Limit, counter: Counter, need: int, now_ms: int) -> D:
    index = INDEX[limit.resource]
    spent, held = counter.spent.get(index, 0), counter.held.get(index, 0)
    end_ms = counter.span.end_ms
    return answer(
        reason=RefusalReason.LIMIT_EXCEEDED,
        account=account.path,
        message=(
            f"{account.path} allows {describe(limit.resource, limit.amount)} in {_window_text(limit.window)}: "
            f"{describe(limit.resource, spent)} spent, {describe(limit.resource, held)} held, "
            f"{describe(limit.resource, need)} needed"
        ),
        window=limit.window,
        resource=limit.resource,
        limit=limit.amount,
        spent=spent,
        held=held,
        requested=need,
        resets_in_ms=None if end_ms is None else end_ms - now_ms,
    )


def _window_text(window: Window) -> str:
    return "its lifetime" if window is Window.LIFETIME else f"{'an' if window is Window.HOUR else 'a'} {window.lower()}"
