"""Whether there is room: the one place that decides what is admitted. Pure; it changes nothing but windows that end."""

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple, TypeVar

from ambit.ledger.accounts import Account
from ambit.ledger.allowance import LIFETIME_PLACE, MINUTE_PLACE, Bound, bounds_of, place_of
from ambit.ledger.amounts import INDEX, Limit, Vector, Window, describe, in_window
from ambit.ledger.holds import Hold
from ambit.ledger.state import State
from ambit.ledger.wire import Denial, RefusalReason, Refused, Wait

D = TypeVar("D", Refused, Wait, Denial)
SPECULATIVE_SHARE = 10
"""Speculative holds together may have one part in so many of what an account's limit has left."""


class For(Enum):
    """What room is asked for."""

    ACT = "act"
    """One that begins."""
    ACT_TO_COME = "act to come"
    """One that may come: it gets its share of the room only."""
    ACT_UNDER_WAY = "act under way"
    """One that goes on, for which something is held: no rate refuses it, or has it wait."""


class Full(NamedTuple):
    """Where room is only held by others, and how much is missing there."""

    wait: Wait
    account: Account
    resource: int
    """Its place in a vector."""
    missing: int


def admit(
    state: State,
    chain: Sequence[Account],
    want: Vector,
    at_least: Vector,
    now_ms: int,
    asked_for: For,
    shadow: list[Denial],
    own: Hold | None = None,
) -> Vector | Refused | Full:
    """How much may be held on every account of `chain` at once: at most `want`, at least `at_least`, or why not.

    `Refused` where what is spent leaves no room, which nothing but a new window or limit changes; `Full` where room is
    only held by others, or the window is a Minute. Refused comes before Full, and the nearest account before others.
    Of an act under way, what its `own` hold has will not come free for it either: it is as good as spent.
    What an act under way takes beyond a Minute's limit delays whatever begins next. What accounts in Shadow would have
    refused is added to `shadow`: they stand in nobody's way, and soften no account below or above them. An act to come
    they refuse all the same, so that the act, should it come, asks and is counted.
    """
    speculative, under_way = asked_for is For.ACT_TO_COME, asked_for is For.ACT_UNDER_WAY
    room = want
    full: Full | None = None
    for account in chain:
        if now_ms >= account.turns_at_ms:
            state.turn(account, now_ms)
        ceilings = account.ceilings
        if not ceilings:
            continue
        spent, held, windows = account.spent, account.held, account.windows
        for index, wanted in want.items():
            ceiling = ceilings.get(index)
            if ceiling is None:
                continue
            total = spent[index] + held[index]
            if total + wanted <= ceiling and not speculative:
                continue  # as nearly always: there is room for all of it in every window
            need = at_least.get(index, 0)
            for bound in account.bounds[index]:
                amount, place, _ = bound
                if under_way and place == MINUTE_PLACE:
                    continue
                free = amount - total if place < 0 else amount - total + windows[place].taken[index]
                if speculative:
                    free = _share(account, index, free)
                if free >= room[index] and free >= need:
                    continue
                if account.in_shadow and not speculative:
                    if free < need:
                        shadow.append(_deny(Denial, account, bound, need, now_ms))
                    continue
                if free < need:
                    gone = _spent(account, bound, index) + (0 if own is None else _own(own, account, bound, index))
                    if _is_final(bound, gone, need):
                        return _deny(Refused, account, bound, need, now_ms)
                    full = full or Full(_deny(Wait, account, bound, need, now_ms), account, index, need - max(free, 0))
                if room is want:
                    room = dict(want)
                room[index] = max(free, 0)
    if full is not None:
        return full
    return room if room is want else {index: amount for index, amount in room.items() if amount}


def _share(account: Account, index: int, free: int) -> int:
    """What of the free room may be held for acts that may come."""
    speculative = account.speculative.get(index, 0)
    return min((free + speculative) // SPECULATIVE_SHARE - speculative, free)


def _is_final(bound: Bound, spent: int, need: int) -> bool:
    # A Minute window exhausts nothing: its next one has room, unless the need is larger than any minute's.
    spent_for_good = 0 if bound.limit.window is Window.MINUTE else spent
    return spent_for_good + need > bound.amount


def _spent(account: Account, bound: Bound, index: int) -> int:
    before = 0 if bound.place == LIFETIME_PLACE else account.windows[bound.place].spent[index]
    return account.spent[index] - before


def _own(hold: Hold, account: Account, bound: Bound, index: int) -> int:
    """What a hold has in the window of a bound."""
    begun_ms = 0 if bound.place == LIFETIME_PLACE else account.windows[bound.place].start_ms
    return sum(part.amount.get(index, 0) for part in hold.parts if part.granted_ms >= begun_ms)


def _deny(answer: type[D], account: Account, bound: Bound, need: int, now_ms: int) -> D:
    limit = bound.limit
    standing = standing_of(account, limit, now_ms)
    return answer(
        reason=RefusalReason.LIMIT_EXCEEDED,
        account=account.path,
        message=(
            f"{account.path} allows {describe(limit.resource, bound.amount)} in {in_window(limit.window)}: "
            f"{describe(limit.resource, standing.spent)} spent, {describe(limit.resource, standing.held)} held, "
            f"{describe(limit.resource, need)} needed"
        ),
        window=limit.window,
        resource=limit.resource,
        limit=bound.amount,
        spent=standing.spent,
        held=standing.held,
        requested=need,
        resets_in_ms=standing.resets_in_ms,
    )


class LimitStanding(NamedTuple):
    """What stands against a limit in the window that runs."""

    spent: int
    held: int
    resets_in_ms: int | None


def standing_of(account: Account, limit: Limit, now_ms: int) -> LimitStanding:
    """What stands against a limit. The account's windows are those of `now_ms`."""
    index = INDEX[limit.resource]
    if limit.window is Window.LIFETIME:
        return LimitStanding(account.spent[index], account.held[index], None)
    running = account.windows[place_of(limit.window)]
    return LimitStanding(
        account.spent[index] - running.spent[index],
        account.held[index] - running.held[index],
        running.end_ms - now_ms,
    )


def would_refuse_in_name(chain: Sequence[Account], at_least: Vector, now_ms: int) -> list[Denial]:
    """What Agents in Shadow would have refused to the sub-sessions in their name: those have no such limits then."""
    return [
        _deny(Denial, account, bound, need, now_ms)
        for account in chain
        if account.session is not None and (agent := account.session.agent) is not None and agent.in_shadow
        for index, bounds in bounds_of(agent.allowance.limits).items()
        for bound in bounds
        if bound.place == LIFETIME_PLACE
        and (need := at_least.get(index, 0))
        and account.spent[index] + account.held[index] + need > bound.amount
    ]


def crowded(chain: Sequence[Account], shadow: list[Denial]) -> Wait | None:
    """Where as many sessions are open as may be: each counts until nothing of it acts any more.

    What accounts in Shadow would have refused is added to `shadow`.
    """
    for account in chain:
        limit = account.allowance.concurrent_sessions
        if limit is None or account.sessions_open < limit:
            continue
        if not account.in_shadow:
            return _crowded(Wait, account, limit)
        shadow.append(_crowded(Denial, account, limit))
    return None


def _crowded(answer: type[D], account: Account, limit: int) -> D:
    return answer(
        reason=RefusalReason.CONCURRENCY_LIMIT,
        account=account.path,
        message=f"concurrentSessions of {account.path} is {limit}, and so many are open: {account.sessions_open}",
        limit=limit,
        held=account.sessions_open,
        requested=1,
    )
