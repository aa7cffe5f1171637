"""Reserve, extend, settle, release: what was answered, and whether it may be."""

from msgspec.structs import astuple

from ambit.ledger import changes, wire
from ambit.ledger.amounts import INDEX, Resource, Vector
from tests.ledger_simulation.model.admission import admitted, beyond_counting, held_in_full, is_open
from tests.ledger_simulation.model.exhaustion import look_at_refusal, saw
from tests.ledger_simulation.model.facts import Fact
from tests.ledger_simulation.model.holds import ModelHold, Part, is_numbered
from tests.ledger_simulation.model.state import ModelState

TIME = {INDEX[Resource.RUNTIME], INDEX[Resource.GPU_TIME]}
"""What may always grow: nobody knows beforehand how long something runs."""


def reserve(state: ModelState, fact: Fact, op: wire.Reserve) -> None:
    """A new hold, or the repeat of one."""
    result = fact.result
    known = state.holds.get(op.id)
    granted = isinstance(result, wire.Granted)
    if known is not None and (not granted or not state.holders.may_be_forgotten(known, state.now_ms)):
        _look_at_repeat(state, fact, op, known)
        return
    if fact.had_no_room:
        state.holders.tried(op.id)
        return
    if not granted:
        _look_at_id(state, fact, op)
    used_up, forgotten = state.holders.is_used_up(op.id, state.now_ms)
    if granted and used_up and not forgotten:
        state.wrong(f"{op.id} was granted, and it or a later one of its holder was answered before")
    account = state.accounts.get(op.path)
    if account is None or account.opened is None:
        if granted:
            state.wrong(f"{op.id} is held on {op.path}, which is no session")
        return
    if isinstance(result, wire.ErrorResult | wire.AlreadySettled) and used_up:
        return
    chain = account.chain()
    if admitted(state, chain, op.id, op.want.vector(), op.at_least.vector(), result, op.speculative) and isinstance(
        result, wire.Granted
    ):
        amount = result.amount.vector()
        expires_ms = state.now_ms + op.expires_in_ms
        part = Part(state.now_ms, amount, {})
        hold = ModelHold(op.id, fact.component, chain, [part], expires_ms, op, result.amount, op.speculative)
        state.holds[op.id] = state.open[op.id] = hold
        state.next_expiry_ms = min(state.next_expiry_ms, expires_ms)
        state.holders.heard(op.id, state.now_ms, new=True)
        account.open_holds += 1
        state.hold(chain, amount)
        for each in chain:
            saw(state, each, op.at_least.vector())
    elif isinstance(result, wire.Refused):
        look_at_refusal(state, account, result, fact, op.speculative)


def _look_at_id(state: ModelState, fact: Fact, op: wire.Reserve) -> None:
    """What was not granted never will be."""
    used_up, _ = state.holders.is_used_up(op.id, state.now_ms)
    if (
        is_numbered(op.id)
        and not used_up
        and not any(isinstance(each, changes.IdUsedUp) and each.id == op.id for each in fact.made)
    ):
        state.wrong(f"{op.id} was answered {fact.result}, and a late copy of it may be granted")


def _look_at_repeat(state: ModelState, fact: Fact, op: wire.Reserve, known: ModelHold) -> None:
    result = fact.result
    if isinstance(result, wire.Granted):
        if not (known.open and op == known.asked):
            state.wrong(f"{op.id} was granted again: open is {known.open}, asked was {known.asked}")
        elif astuple(result.amount) != astuple(known.granted):
            state.wrong(f"{op.id} was granted {known.granted}, and the repeat {result.amount}")
    elif known.open and op == known.asked and fact.component == known.component:
        state.wrong(f"{op.id} is open, and its repeat was answered {result}")


def extend(state: ModelState, fact: Fact, op: wire.Extend) -> None:
    """More for a hold, and a later end of it."""
    result = fact.result
    hold = state.holds.get(op.id)
    if hold is None or not hold.open:
        if isinstance(result, wire.Granted):
            state.wrong(f"{op.id} is not open and was extended")
        return
    if op.sequence <= hold.sequence or fact.had_no_room:
        return
    want = op.want.vector()
    if not want.keys() <= TIME and is_open(hold.chain) and held_in_full(hold.chain):
        if not isinstance(result, wire.Invalid):
            state.wrong(f"{op.id} grows, and is to be held in full: {result}")
        return
    if admitted(state, hold.chain, op.id, want, op.at_least.vector(), result, extends=hold) and isinstance(
        result, wire.Granted
    ):
        hold.sequence, hold.speculative = op.sequence, False
        hold.expires_ms = state.now_ms + op.expires_in_ms
        state.next_expiry_ms = min(state.next_expiry_ms, hold.expires_ms)
        amount = result.amount.vector()
        hold.parts.append(Part(state.now_ms, amount, {}))
        state.holders.heard(op.id, state.now_ms)
        state.hold(hold.chain, amount, extends=True)
    elif isinstance(result, wire.Refused):
        look_at_refusal(state, hold.chain[0], result, fact, False)


def settle(state: ModelState, op: wire.Settle, result: wire.AnyResult | None) -> None:
    """What was really used."""
    used = op.used.vector()
    hold = _closed(state, op.id, used, result, isinstance(result, wire.Settled))
    if hold is not None and isinstance(result, wire.Settled):
        overrun = {index: over for index, value in used.items() if (over := value - hold.total.get(index, 0)) > 0}
        if result.overrun.vector() != overrun:
            state.wrong(f"{op.id}: {overrun} is beyond the hold, and the ledger says {result.overrun}")
        state.close(hold, used)


def release(state: ModelState, op: wire.Release, result: wire.AnyResult | None) -> None:
    """Nothing was done."""
    hold = _closed(state, op.id, {}, result, isinstance(result, wire.Released))
    if hold is not None:
        state.close(hold, {})


def _closed(
    state: ModelState, hold_id: str, used: Vector, result: wire.AnyResult | None, closes: bool
) -> ModelHold | None:
    """The hold, where `result` closes it, or corrects the charge of an expired one."""
    hold = state.holds.get(hold_id)
    if hold is None or not (hold.open or hold.expired):
        if closes:
            state.wrong(f"{hold_id} is not open, and was answered {result}")
        return None
    total = hold.total
    overrun = {index: over for index, value in used.items() if (over := value - total.get(index, 0)) > 0}
    if closes:
        if hold.expired and _taken_off(hold, used):
            state.wrong(f"{hold_id} was corrected, though an adjustment had taken its charge off before")
        return hold
    if state.holders.may_be_forgotten(hold, state.now_ms) or (overrun and beyond_counting(hold.chain, overrun)):
        return None
    if not (hold.expired and isinstance(result, wire.AlreadySettled) and _taken_off(hold, used)):
        state.wrong(f"{hold_id} was not closed, though open {hold.open}, expired {hold.expired}: {result}")
    return None


def _taken_off(hold: ModelHold, used: Vector) -> bool:
    """Whether an account has spent less than a correction would take off: the operator has done so already."""
    return any(
        account.running[0].spent[index] < value - used.get(index, 0)
        for account in hold.chain
        for index, value in hold.total.items()
    )
