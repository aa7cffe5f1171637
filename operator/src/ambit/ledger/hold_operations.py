"""Reserve, extend, settle, release: what is held, and what becomes of it."""

from ambit.ledger import changes, wire
from ambit.ledger.accounts import Account, Hold, HoldState
from ambit.ledger.admission import admit
from ambit.ledger.amounts import Amount
from ambit.ledger.step import Step
from ambit.ledger.wire import RefusalReason, Refused

HoldAnswer = wire.Granted | Refused | wire.Wait | wire.ErrorResult
Chain = tuple[Account, ...]


def reserve(step: Step, op: wire.Reserve) -> HoldAnswer:
    """Holds on a session and all above it, or nothing."""
    want, at_least = op.want.vector(), op.at_least.vector()
    placed = step.state.holds.get((step.component, op.id))
    if placed is not None:
        same = placed.chain[0].path == op.path and placed.first.same(want, at_least, op.expires_in_ms)
        return _repeated(placed, op.id) if same else wire.IdReused(op.id)
    if not at_least:
        return wire.Invalid("atLeast is empty: say what the act needs at least, for example one model call")
    if not op.want.covers(op.at_least):
        return wire.Invalid("atLeast is more than want: ask for at least that much")
    account = step.state.accounts.get(op.path)
    if account is None:
        return wire.UnknownAccount(op.path)
    if account.session is None:
        return wire.Invalid(f"{op.path} is no session: open one under it and reserve there")
    chain = account.chain()
    answer = _closed(chain) or admit(chain, want, at_least, step.now_ms)
    if not isinstance(answer, dict):
        return answer
    step.record(
        changes.HoldPlaced(step.now_ms, step.component, op.id, op.path, answer, want, at_least, op.expires_in_ms)
    )
    return wire.Granted(Amount.of(answer))


def extend(step: Step, op: wire.Extend) -> HoldAnswer:
    """Adds to an open hold and moves its expiry."""
    want, at_least = op.want.vector(), op.at_least.vector()
    hold = step.state.holds.get((step.component, op.id))
    if hold is None:
        return wire.UnknownHold(op.id)
    if not op.want.covers(op.at_least):
        return wire.Invalid("atLeast is more than want: ask for at least that much")
    if hold.state is HoldState.EXPIRED:
        return _expired(hold)
    if hold.state is not HoldState.OPEN:
        return wire.IdReused(op.id)
    if op.sequence <= hold.sequence:
        last = hold.last
        if op.sequence == hold.sequence and last is not None and last.same(want, at_least, op.expires_in_ms):
            return wire.Granted(Amount.of(last.granted))
        return wire.Invalid(f"sequence {op.sequence} was used: the next is {hold.sequence + 1}")
    answer = _closed(hold.chain) or admit(hold.chain, want, at_least, step.now_ms)
    if not isinstance(answer, dict):
        return answer
    step.record(
        changes.HoldExtended(step.now_ms, step.component, op.id, op.sequence, answer, want, at_least, op.expires_in_ms)
    )
    return wire.Granted(Amount.of(answer))


def settle(step: Step, op: wire.Settle) -> wire.Settled | wire.AlreadySettled | wire.ErrorResult:
    """Charges what was used, once; of an expired hold, as a correction of its charge."""
    hold = step.state.holds.get((step.component, op.id))
    if hold is None:
        return wire.UnknownHold(op.id)
    if hold.state not in (HoldState.OPEN, HoldState.EXPIRED):
        return wire.AlreadySettled()
    _, overrun = hold.allocate(op.used.vector())
    step.record(changes.HoldSettled(step.now_ms, step.component, op.id, op.used.vector()))
    return wire.Settled(Amount.of(overrun))


def release(step: Step, op: wire.Release) -> wire.Released | wire.AlreadySettled | wire.ErrorResult:
    """Drops a hold; of an expired one, takes its charge back."""
    hold = step.state.holds.get((step.component, op.id))
    if hold is None:
        return wire.UnknownHold(op.id)
    if hold.state not in (HoldState.OPEN, HoldState.EXPIRED):
        return wire.AlreadySettled()
    step.record(changes.HoldReleased(step.now_ms, step.component, op.id, op.reason))
    return wire.Released()


def _repeated(hold: Hold, hold_id: str) -> HoldAnswer:
    if hold.state is HoldState.OPEN:
        return wire.Granted(Amount.of(hold.first.granted))
    # Nothing is held any more: the first answer would let the act happen without cover.
    return _expired(hold) if hold.state is HoldState.EXPIRED else wire.IdReused(hold_id)


def _expired(hold: Hold) -> Refused:
    return Refused(
        reason=RefusalReason.HOLD_EXPIRED,
        account=hold.chain[0].path,
        message=f"hold {hold.id} has expired and was charged: reserve under another id",
    )


def _closed(chain: Chain) -> Refused | None:
    """Why nothing more may be held here at all, if so."""
    for account in chain:
        if account.session is not None and account.session.ending is not None:
            return session_ended(account)
        if account.removed:
            return account_removed(account)
    return None


def session_ended(account: Account) -> Refused:
    """The refusal of whatever concerns a session that has ended."""
    ending = None if account.session is None else account.session.ending
    if ending is None:
        raise ValueError(f"{account.path} has not ended")
    return Refused(
        reason=RefusalReason.SESSION_ENDED,
        account=account.path,
        message=f"{account.path} has ended: {ending.reason}" + (f", {ending.message}" if ending.message else ""),
        ended=ending.reason,
    )


def account_removed(account: Account) -> Refused:
    """The refusal of whatever is under a removed account."""
    return Refused(reason=RefusalReason.ACCOUNT_REMOVED, account=account.path, message=f"{account.path} was removed")
