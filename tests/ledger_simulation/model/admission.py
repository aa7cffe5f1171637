"""What is due to whoever wants to hold something: all or part of it, no, or patience; what is wrong with an answer."""

from collections.abc import Iterator

from ambit.ledger import wire
from ambit.ledger.amounts import INDEX, MAX_AMOUNT, Limit, Vector, Window
from tests.ledger_simulation.model.accounts import ModelAccount
from tests.ledger_simulation.model.holds import ModelHold
from tests.ledger_simulation.model.state import ModelState

SPECULATIVE_PART = 10
"""Speculative holds may have one part in so many of what is left."""
AT_ONCE = 2**56
"""Nobody may hold or overrun by more than that at once."""
Chain = tuple[ModelAccount, ...]


def admitted(
    state: ModelState,
    chain: Chain,
    hold_id: str,
    want: Vector,
    at_least: Vector,
    result: wire.AnyResult | None,
    speculative: bool = False,
    extends: ModelHold | None = None,
) -> bool:
    """Whether it was granted; what is wrong with that, or with the refusal, is a problem."""
    for account in chain:
        state.turn(account)
    if not is_open(chain):
        if not isinstance(result, wire.Refused):
            state.wrong(f"{hold_id}: {result} on what has ended, is parked or was removed")
        return False
    final, waits, room = False, False, dict(want)
    shadow: set[tuple[str, Window, str]] = set()
    for bound, limit, index in _bounds(chain, want, extends is not None):
        at, need = bound.at(limit.window), at_least.get(index, 0)
        free = limit.amount - at.spent[index] - at.held[index]
        if speculative:
            ahead = _ahead(state, bound, index)
            free = min((free + ahead) // SPECULATIVE_PART - ahead, free)
        if bound.shadow and not speculative:
            if free < need:
                shadow.add((bound.path, limit.window, limit.resource))
            continue
        if free < need:
            final = final or is_final(bound, limit, need, extends)
            waits = True
        room[index] = min(room[index], max(free, 0))
    room = {index: value for index, value in room.items() if value}
    absurd = not (final or waits) and beyond_counting(chain, room, MAX_AMOUNT // 2)
    expected = "Refused" if final else "Wait" if waits else "Invalid" if absurd else "Granted"
    if type(result).__name__ != expected:
        state.wrong(f"{hold_id}: {expected} was due, and the ledger says {result}")
    elif isinstance(result, wire.Granted):
        if result.amount.vector() != room:
            state.wrong(f"{hold_id}: granted {result.amount.vector()}, of a room of {room}")
        if not speculative:
            shadow |= set(_in_name(chain, want, at_least))
        said = {(each.account, each.window, each.resource) for each in result.shadow}
        if said != shadow:
            state.wrong(f"{hold_id}: {said} would have refused it, and not {shadow}")
    elif isinstance(result, wire.Denial):
        _look_at_denial(state, chain, hold_id, want, at_least, result, speculative, extends)
    return isinstance(result, wire.Granted)


def _in_name(chain: Chain, want: Vector, at_least: Vector) -> Iterator[tuple[str, Window, str]]:
    """What Agents in Shadow would have refused to sub-sessions that others opened in their name."""
    for session in chain:
        agent = session.agent
        for limit in agent.base if agent is not None and agent.shadow else ():
            index, lifetime = INDEX[limit.resource], session.running[0]
            need = at_least.get(index, 0) if index in want and limit.window is Window.LIFETIME else 0
            if need and lifetime.spent[index] + lifetime.held[index] + need > limit.amount:
                yield session.path, limit.window, limit.resource


def is_open(chain: Chain) -> bool:
    """Whether anything may be held there at all."""
    return chain[0].parked is None and not any(account.closed for account in chain)


def held_in_full(chain: Chain) -> bool:
    """Whether an account asks for that, or an Agent in whose name something there runs."""
    bounds = (*chain, *(account.agent for account in chain if account.agent is not None))
    return any(each.put is not None and each.put.holds is wire.HoldPolicy.FULL for each in bounds)


def is_final(account: ModelAccount, limit: Limit, need: int, own: ModelHold | None = None) -> bool:
    """Whether what is spent, and held by the act itself, leaves no room, whatever becomes of all that others hold."""
    if limit.window is Window.MINUTE:
        return need > limit.amount
    index, at = INDEX[limit.resource], account.at(limit.window)
    parts = () if own is None else own.parts
    mine = sum(part.amount.get(index, 0) for part in parts if part.granted_ms >= at.span.start_ms)
    return at.spent[index] + mine + need > limit.amount


def beyond_counting(chain: Chain, more: Vector, total: int = MAX_AMOUNT, at_once: int = AT_ONCE) -> bool:
    """Whether it is absurd, or a total would be larger than anybody can say."""
    return max(more.values(), default=0) > at_once or any(
        account.running[0].spent[index] + account.running[0].held[index] + amount > total
        for account in chain
        for index, amount in more.items()
    )


def _bounds(chain: Chain, want: Vector, extends: bool = False) -> Iterator[tuple[ModelAccount, Limit, int]]:
    for account in chain:
        for limit in account.bounds(extends):
            index = INDEX[limit.resource]
            if index in want:
                yield account, limit, index


def _look_at_denial(
    state: ModelState,
    chain: Chain,
    hold_id: str,
    want: Vector,
    at_least: Vector,
    denial: wire.Denial,
    speculative: bool,
    own: ModelHold | None,
) -> None:
    """What it names must be what stands in the way, with its figures."""
    for account, limit, index in _bounds(chain, want):
        if (account.path, limit.window, limit.resource) != (denial.account, denial.window, denial.resource):
            continue
        at, need = account.at(limit.window), at_least.get(index, 0)
        stands = (limit.amount, at.spent[index], at.held[index], need)
        if stands != (denial.limit, denial.spent, denial.held, denial.requested):
            state.wrong(f"{hold_id}: of {account.path} (limit, spent, held, need) is {stands}, and not as in {denial}")
        lets_pass = account.shadow and not speculative
        if lets_pass or is_final(account, limit, need, own) is isinstance(denial, wire.Wait):
            state.wrong(f"{hold_id}: {account.path} does not stand in its way as it says: {denial}")
        return
    state.wrong(f"{hold_id}: nothing is where it says that something stands in its way: {denial}")


def _ahead(state: ModelState, account: ModelAccount, index: int) -> int:
    """What is held on an account for acts that may come."""
    return sum(hold.total.get(index, 0) for hold in state.open.values() if hold.speculative and account in hold.chain)
