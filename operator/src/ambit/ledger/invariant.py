"""What must be true of the tree, as functions that say what is not. Tests ask them after every step.

The invariant: no step that increases what is held leaves an account with `spent + held` above a limit. An account
stands above one only by a limit that was lowered or added, or by a recorded overrun; and until it is below, nothing on
it increases.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ambit.ledger.accounts import Hold, HoldState
from ambit.ledger.amounts import INDEX, NOTHING, RESOURCES, Resource, Vector, Window, plus
from ambit.ledger.state import State

Place = tuple[str, Window, Resource]
"""An account, a window of it, a resource."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What stands at one place."""

    begun_ms: int
    spent: int
    held: int
    limit: int | None


def standings(state: State, now_ms: int) -> dict[Place, Standing]:
    """What stands at every place at `now_ms`."""
    found: dict[Place, Standing] = {}
    for account in state.accounts.values():
        limits = {(limit.window, limit.resource): limit.amount for limit in account.limits}
        for window in account.counters:
            counter = account.counter(window, now_ms)
            for resource in RESOURCES:
                index = INDEX[resource]
                found[account.path, window, resource] = Standing(
                    counter.span.start_ms,
                    counter.spent.get(index, 0),
                    counter.held.get(index, 0),
                    limits.get((window, resource)),
                )
    return found


def violations_of_step(before: Mapping[Place, Standing], after: Mapping[Place, Standing]) -> list[str]:
    """What a step from `before` to `after` did that no step may."""
    found: list[str] = []
    for place, now in after.items():
        was = before.get(place)
        new_window = was is None or was.begun_ms != now.begun_ms
        held_before = 0 if was is None or new_window else was.held
        if now.held > held_before and now.limit is not None and now.spent + now.held > now.limit:
            found.append(f"{place}: held rose to {now.held} with {now.spent} spent and a limit of {now.limit}")
        if was is not None and now.begun_ms < was.begun_ms:
            found.append(f"{place}: its window went back from {was.begun_ms} to {now.begun_ms}")
    found.extend(
        f"{place}: forgotten" for place in before if place not in after and not place[0].startswith("session/")
    )
    return found


def violations(state: State, now_ms: int) -> list[str]:
    """What is wrong with a tree by itself: every counter is the sum of the open holds that it has seen."""
    found: list[str] = []
    for account in state.accounts.values():
        for window in account.counters:
            counter = account.counter(window, now_ms)
            held = NOTHING
            for hold in state.holds.values():
                if hold.state is HoldState.OPEN and account in hold.chain:
                    held = plus(held, _seen_by(hold, counter.span.start_ms))
            if held != {index: amount for index, amount in counter.held.items() if amount}:
                found.append(f"{account.path} {window}: {counter.held} held, but its holds are {held}")
            if min(counter.spent.values(), default=0) < 0:
                found.append(f"{account.path} {window}: {counter.spent} spent")
        if account.parent is not None and account.parent.children.get(account.path) is not account:
            found.append(f"{account.path}: its parent does not know it")
        if account in account.chain()[1:]:
            found.append(f"{account.path}: is above itself")
    for hold in state.holds.values():
        session = hold.chain[0].session
        registered = session is not None and session.holds.get(hold.key) is hold
        if registered is not (hold.state is HoldState.OPEN):
            found.append(f"{hold.key}: {hold.state}, but its session says otherwise")
        if hold.state is HoldState.OPEN and hold.expires_ms <= now_ms:
            found.append(f"{hold.key}: expired {now_ms - hold.expires_ms} ms ago and is still open")
    return found


def _seen_by(hold: Hold, begun_ms: int) -> Vector:
    total = NOTHING
    for part in hold.increments:
        if part.granted_ms >= begun_ms:
            total = plus(total, part.amount)
    return total
