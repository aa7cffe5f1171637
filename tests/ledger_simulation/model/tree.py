"""Accounts that come, change, move and go."""

from ambit.ledger import wire
from ambit.ledger.amounts import INDEX, MAX_AMOUNT, Limit, Window, plus
from tests.ledger_simulation.model.accounts import ModelAccount
from tests.ledger_simulation.model.admission import beyond_counting
from tests.ledger_simulation.model.state import ModelState


def put(state: ModelState, op: wire.PutAccount, result: wire.AnyResult | None) -> None:
    """An account is made, made again, or allows something else."""
    account = state.accounts.get(op.path)
    parent = None if op.parent is None else state.accounts[op.parent]
    cycle = account is not None and parent is not None and account in parent.chain()
    moves = account is not None and not account.removed and account.parent is not parent
    absurd = account is not None and _raises_too_much(state, account, op.top_ups)
    if isinstance(result, wire.AccountPut) is (cycle or moves or absurd):
        why = f"a cycle {cycle}, a move of what lives {moves}, top-ups beyond counting {absurd}"
        state.wrong(f"{op.path} under {op.parent}: {why}, answered {result}")
    if not isinstance(result, wire.AccountPut):
        return
    if account is None:
        account = state.new_account(op.path, parent, op.limits, op.time_zone)
    state.turn(account)
    account.parent = parent
    account.looks |= bool(op.warn_at or op.top_ups) or op.when_exhausted is not wire.WhenExhausted.DENY
    account.put, account.base, account.zone, account.removed = op, op.limits, op.time_zone, False
    for each in op.top_ups:
        if each.id not in account.topped_up:
            _top_up(account, each)
    account.look_at_limits()
    for user in state.accounts.values():
        if user.parent is account and user.opened is None and user.path.startswith("user/"):
            state.turn(user)
            user.base, user.zone = op.user_limits or (), op.time_zone
            user.look_at_limits()


def _raises_too_much(state: ModelState, account: ModelAccount, top_ups: tuple[wire.TopUp, ...]) -> bool:
    """Whether a limit would be raised beyond what can be counted."""
    state.turn(account)
    raised = {bound: amount for bound, (_, amount) in account.raised.items()}
    for each in top_ups:
        if each.id not in account.topped_up:
            bound = (each.window, each.resource)
            raised[bound] = raised.get(bound, 0) + each.amount
    return max(raised.values(), default=0) > MAX_AMOUNT


def _top_up(account: ModelAccount, top_up: wire.TopUp) -> None:
    account.topped_up.add(top_up.id)
    begun_ms = account.begun_ms(top_up.window)
    before_ms, before = account.raised.get((top_up.window, top_up.resource), (begun_ms, 0))
    account.raised[top_up.window, top_up.resource] = (
        begun_ms,
        top_up.amount + (before if before_ms == begun_ms else 0),
    )


def adjust(state: ModelState, op: wire.Adjust, result: wire.AnyResult | None) -> None:
    """What is spent is corrected, on an account and all above it."""
    account = state.accounts.get(op.path)
    if account is None:
        return
    index, chain = INDEX[op.resource], account.chain()
    too_little = any(each.running[0].spent[index] + op.amount < 0 for each in chain)
    absurd = beyond_counting(chain, {index: op.amount}, at_once=MAX_AMOUNT)
    if isinstance(result, wire.Adjusted) is (too_little or absurd):
        state.wrong(f"{op} was answered {result}: too little was spent {too_little}, absurd {absurd}")
    if not isinstance(result, wire.Adjusted):
        return
    for each in chain:
        state.turn(each)
        each.lowered = plus(each.lowered, {index: max(-op.amount, 0)})
        for running in each.running:
            running.spent[index] += op.amount
            each.level(running)


def tightened(limits: tuple[Limit, ...], by: tuple[Limit, ...]) -> tuple[Limit, ...]:
    """The smaller of both, where both limit the same over a lifetime."""
    found = {(limit.window, limit.resource): limit for limit in limits}
    for limit in by:
        if limit.window is Window.LIFETIME:
            known = found.get((limit.window, limit.resource), limit)
            found[limit.window, limit.resource] = min(known, limit, key=lambda each: each.amount)
    return tuple(found.values())
