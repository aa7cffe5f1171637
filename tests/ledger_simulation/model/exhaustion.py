"""What follows from what is spent: warnings, and what becomes of the sessions of an exhausted account."""

from collections.abc import Callable, Iterator

from ambit.ledger import changes, wire
from ambit.ledger.amounts import INDEX, Limit, Resource, Vector, Window
from tests.ledger_simulation.model.accounts import ModelAccount, Parking
from tests.ledger_simulation.model.facts import Fact
from tests.ledger_simulation.model.state import ModelState

WAKE_EVERY_MS = 50
DAY_MS = 24 * 3600 * 1000
DAYS_KNOWN = 7
"""For so long the ledger knows how small the calls were."""
_REASONS = {
    wire.WhenExhausted.DENY: wire.RefusalReason.LIMIT_EXCEEDED,
    wire.WhenExhausted.PARK: wire.RefusalReason.PARKED,
    wire.WhenExhausted.TERMINATE: wire.RefusalReason.TERMINATED,
}


def look_at_refusal(state: ModelState, session: ModelAccount, refused: wire.Refused, fact: Fact, ahead: bool) -> None:
    """Whether a session was parked or ended by an exhausted account where it had to be, and nowhere else.

    `ahead`: it asked for an act that may come, which exhausts nothing.
    """
    if refused.window is None:
        if refused.reason is wire.RefusalReason.PARKED and session.parked is None:
            state.wrong(f"{session.path} is said to be parked, and is not")
        return
    account = state.accounts[refused.account]
    limited = refused.window is not Window.MINUTE and refused.requested <= refused.limit and not ahead
    left = refused.limit - refused.spent
    ever, lately = _smallest(state, account, refused.resource)
    if refused.reason is wire.RefusalReason.LIMIT_EXCEEDED:
        if limited and left < min(ever, refused.requested) and account.when_exhausted is not wire.WhenExhausted.DENY:
            state.wrong(f"{account.path} is exhausted, and only says no: {refused}")
    elif not limited or refused.reason is not _REASONS[account.when_exhausted]:
        state.wrong(f"{account.path} should {account.when_exhausted}, and says {refused}")
    elif left >= min(lately, refused.requested):
        state.wrong(f"{account.path} has {left} left, room for a call of {lately}, and says {refused}")
    parked = any(isinstance(each, changes.SessionParked) and each.path == session.path for each in fact.made)
    if parked is not (refused.reason is wire.RefusalReason.PARKED):
        state.wrong(f"{session.path} was parked {parked}, and was told {refused}")


def saw(state: ModelState, account: ModelAccount, at_least: Vector) -> None:
    """A hold was granted: an account that was ever asked to look knows how small a call may be."""
    if account.looks:
        of_day = account.smallest.setdefault(state.now_ms // DAY_MS, {})
        for index, amount in at_least.items():
            of_day[index] = min(of_day.get(index, amount), amount)


def _smallest(state: ModelState, account: ModelAccount, resource: Resource | None) -> tuple[int, int]:
    """The smallest call that it ever saw, and within the last days: a ledger knows at least these."""
    index = INDEX[resource] if resource is not None else -1
    found = {day: of_day[index] for day, of_day in account.smallest.items() if index in of_day}
    lately = [amount for day, amount in found.items() if day > state.now_ms // DAY_MS - DAYS_KNOWN]
    ever = min(found.values(), default=1)
    return ever, min(lately, default=max(found.values(), default=1))


def park(state: ModelState, change: changes.SessionParked) -> None:
    """A session waits from now on."""
    session, by = state.accounts[change.path], state.accounts[change.by]
    if session.parked is not None or by not in session.chain():
        state.wrong(f"{change}: it is parked already, or is not under that account")
        return
    session.parked = Parking(by, change.window, change.resource, change.need)
    by.lot.append(session)


def unpark(session: ModelAccount) -> None:
    """It waits no longer, however that came."""
    if session.parked is not None:
        session.parked.by.lot.remove(session)
        session.parked = None


def wake(state: ModelState, change: changes.SessionWoken, is_crowded: Callable[[str], bool]) -> None:
    """A session goes on: of those with room and a slot the one that waited longest, and none close after another."""
    session = state.accounts[change.path]
    parking = session.parked
    if parking is None:
        state.wrong(f"{change.path} was woken, and is not parked")
        return
    by = parking.by
    for before in by.lot[: by.lot.index(session)]:
        if before.parked is not None and may_wake(state, by, before.parked) and not is_crowded(before.path):
            state.wrong(f"{change.path} was woken before {before.path}, which has room and a slot")
    if state.now_ms < by.next_wake_ms:
        state.wrong(f"{change.path} was woken {by.next_wake_ms - state.now_ms} ms too early after another")
    if not may_wake(state, by, parking):
        state.wrong(f"{change.path} was woken, and {by.path} has no room for {parking.need} {parking.resource}")
    if is_crowded(change.path):
        state.wrong(f"{change.path} was woken, and has no slot")
    unpark(session)
    by.next_wake_ms = state.now_ms + WAKE_EVERY_MS
    session.busy_ms = state.now_ms


def may_wake(state: ModelState, by: ModelAccount, parking: Parking) -> bool:
    """Whether there is room for what a session waits for."""
    state.turn(by)
    limit = _limit_of(by, parking.window, parking.resource)
    if limit is None or by.shadow or by.when_exhausted is not wire.WhenExhausted.PARK:
        return True
    spent = by.at(limit.window).spent[INDEX[limit.resource]]
    return spent + parking.need <= limit.amount or parking.need > limit.amount


def _limit_of(account: ModelAccount, window: Window, resource: str) -> Limit | None:
    return next((each for each in account.limits if (each.window, each.resource) == (window, resource)), None)


# -- warnings


def reached(state: ModelState, change: changes.LimitReached) -> bool:
    """Whether what is spent has reached that percentage, and somebody asked to be told."""
    account = state.accounts[change.path]
    state.turn(account)
    limit = _limit_of(account, change.window, change.resource)
    if limit is None:
        return False
    spent = account.at(change.window).spent[INDEX[change.resource]]
    asked = account.put is not None and change.percent in account.put.warn_at
    return asked and spent > 0 and spent * 100 >= change.percent * limit.amount


def warned(state: ModelState, change: changes.LimitReached) -> None:
    """Somebody is warned: once in a window, and only of what was asked for."""
    account = state.accounts[change.path]
    bound = (change.window, change.resource)
    begun_ms = account.begun_ms(change.window)
    before_ms, percent = account.warned.get(bound, (begun_ms, 0))
    if account.put is None or change.percent not in account.put.warn_at:
        state.wrong(f"{change}: nobody asked for that warning")
    if before_ms == begun_ms and change.percent <= percent:
        state.wrong(f"{change}: {percent} was said before in this window")
    account.warned[bound] = (begun_ms, change.percent)


def unwarned(account: ModelAccount) -> Iterator[str]:
    """The percentages that were reached and of which nobody was told."""
    if account.put is None or account.removed:
        return
    for limit in account.limits:
        spent = account.at(limit.window).spent[INDEX[limit.resource]]
        begun_ms = account.begun_ms(limit.window)
        said_ms, said = account.warned.get((limit.window, limit.resource), (begun_ms, 0))
        for percent in account.put.warn_at:
            if spent > 0 and spent * 100 >= percent * limit.amount and not (said_ms == begun_ms and said >= percent):
                yield f"{account.path} has spent {spent} of {limit}, and nobody was warned of {percent} percent"
