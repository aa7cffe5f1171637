"""Reserve, extend, settle, release: what is held, and what becomes of it."""

from ambit.ledger import changes, wire
from ambit.ledger.accounts import Account
from ambit.ledger.admission import For, Full, admit, would_refuse_in_name
from ambit.ledger.amounts import (
    INDEX,
    MAX_AMOUNT,
    MAX_AT_ONCE,
    MAX_TOTAL_BY_HOLDS,
    RESOURCES,
    Amount,
    Resource,
    Vector,
    covers,
    describe,
    minus,
)
from ambit.ledger.audit import AuditedCorrection, AuditedOverrun
from ambit.ledger.ending import session_ended
from ambit.ledger.history import SessionUsage, session_record
from ambit.ledger.holds import MARK, Hold, HoldState, identity_of
from ambit.ledger.policy_operations import exhaust, parked, warn
from ambit.ledger.step import Step
from ambit.ledger.wire import Denial, HoldPolicy, RefusalReason, Refused

HoldAnswer = wire.Granted | Refused | wire.Wait | wire.ErrorResult
Chain = tuple[Account, ...]
TIME = frozenset({INDEX[Resource.RUNTIME], INDEX[Resource.GPU_TIME]})
"""What is held in slices, whatever the policy: nobody knows beforehand how long something runs."""


def reserve(step: Step, op: wire.Reserve) -> HoldAnswer:
    """Holds on a session and all above it, or nothing."""
    want, at_least = _asked(op)
    known = _find(step, op.id)
    if isinstance(known, Hold):
        same = known.first.asked() == (op.path, want, at_least, op.expires_in_ms)
        return _repeated(known) if same and known.first.speculative == op.speculative else wire.IdReused(op.id)
    if not isinstance(known, wire.UnknownHold):
        return wire.IdReused(op.id) if isinstance(known, wire.AlreadySettled) else known
    if step.settling_only:
        return storage_full(op.path)
    if not at_least:
        return wire.Invalid("atLeast is empty: say what the act needs at least, for example one model call")
    if at_least is not want and not covers(want, at_least):
        return wire.Invalid("atLeast is more than want: ask for at least that much")
    account = step.state.accounts.get(op.path)
    if account is None:
        return wire.UnknownAccount(op.path)
    if account.session is None:
        return wire.Invalid(f"{op.path} is no session: open one under it and reserve there")
    chain = account.chain()
    shadow: list[Denial] = []
    asked_for = For.ACT_TO_COME if op.speculative else For.ACT
    answer = _closed(chain) or admit(step.state, chain, want, at_least, step.now_ms, asked_for, shadow)
    if isinstance(answer, Refused):
        return answer if op.speculative else exhaust(step, account, answer)
    if isinstance(answer, Full):
        return _make_room(step, answer, op.speculative)
    if (absurd := beyond_counting(chain, answer, MAX_TOTAL_BY_HOLDS, MAX_AT_ONCE)) is not None:
        return absurd
    if not op.speculative:
        shadow += would_refuse_in_name(chain, at_least, step.now_ms)
    step.record(
        changes.HoldPlaced(
            step.now_ms,
            step.component,
            op.id,
            op.path,
            answer,
            op.expires_in_ms,
            None if want is answer or want == answer else want,
            None if at_least is answer or at_least == answer else at_least,
            op.speculative,
        )
    )
    return _granted(step, chain, op.want if answer is want else Amount.of(answer), shadow)


def use_up(step: Step, hold_id: str) -> None:
    """What was not granted never will be: the network may bring another copy of it when nobody waits for it any more.

    A name is asked anew, by whoever has that name by then.
    """
    if MARK in hold_id and isinstance(_find(step, hold_id), wire.UnknownHold):
        step.record(changes.IdUsedUp(step.now_ms, step.component, hold_id))


def extend(step: Step, op: wire.Extend) -> HoldAnswer:
    """Adds to an open hold and moves its expiry. It is in use from then on, if it was speculative.

    A Minute does not stand in its way: what would be beyond one delays the next reserve.
    """
    want, at_least = _asked(op)
    hold = _find(step, op.id)
    if isinstance(hold, wire.AlreadySettled):
        return wire.IdReused(op.id)
    if not isinstance(hold, Hold):
        return hold
    if at_least is not want and not covers(want, at_least):
        return wire.Invalid("atLeast is more than want: ask for at least that much")
    if hold.state is HoldState.EXPIRED:
        return _expired(hold)
    if hold.state is not HoldState.OPEN:
        return wire.IdReused(op.id)
    if op.sequence <= hold.sequence:
        last = hold.last
        if last is not None and op.sequence == hold.sequence and last.asked() == (want, at_least, op.expires_in_ms):
            return wire.Granted(Amount.of(last.amount))
        return wire.Invalid(f"sequence {op.sequence} was used: the next is {hold.sequence + 1}")
    if step.settling_only and want:
        return storage_full(hold.chain[0].path)
    closed = _closed(hold.chain) or _held_in_full(hold, want)
    if closed is not None:
        return closed
    shadow: list[Denial] = []
    answer = admit(step.state, hold.chain, want, at_least, step.now_ms, For.ACT_UNDER_WAY, shadow, hold)
    if isinstance(answer, Refused):
        return exhaust(step, hold.chain[0], answer)
    if isinstance(answer, Full):
        return _make_room(step, answer, speculative=False)
    if (absurd := beyond_counting(hold.chain, answer, MAX_TOTAL_BY_HOLDS, MAX_AT_ONCE)) is not None:
        return absurd
    shadow += would_refuse_in_name(hold.chain, at_least, step.now_ms)
    step.record(
        changes.HoldExtended(
            step.now_ms,
            step.component,
            op.id,
            op.sequence,
            answer,
            op.expires_in_ms,
            None if want == answer else want,
            None if at_least == answer else at_least,
        )
    )
    return _granted(step, hold.chain, op.want if answer is want else Amount.of(answer), shadow)


def _granted(step: Step, chain: Chain, amount: Amount, shadow: list[Denial]) -> wire.Granted:
    """What is granted, and what there is to say about it."""
    warnings = warn(step, chain)
    return wire.Granted(amount, warnings, tuple(shadow)) if warnings or shadow else wire.Granted(amount)


def settle(step: Step, op: wire.Settle) -> wire.Settled | wire.AlreadySettled | wire.ErrorResult:
    """Charges what was used, once; of an expired hold, as a correction of its charge."""
    hold = _find(step, op.id)
    if not isinstance(hold, Hold):
        return hold
    if hold.state not in (HoldState.OPEN, HoldState.EXPIRED):
        return wire.AlreadySettled()
    used = op.used.vector()
    lost = hold.state is HoldState.EXPIRED
    if lost and _taken_off_before(hold, used):
        return wire.AlreadySettled()
    _, overrun = hold.allocate(used)
    if overrun and (absurd := beyond_counting(hold.chain, overrun, at_once=MAX_AT_ONCE)) is not None:
        return absurd
    step.record(changes.HoldSettled(step.now_ms, step.component, op.id, used))
    path = hold.first.path
    if lost:
        _corrected(step, hold, op.used)
    if overrun:
        step.audit(path, AuditedOverrun(step.component, op.id, Amount.of(overrun)))
    warnings = warn(step, hold.chain)
    return wire.Settled(Amount.of(overrun), warnings) if overrun or warnings else _SETTLED


def release(step: Step, op: wire.Release) -> wire.Released | wire.AlreadySettled | wire.ErrorResult:
    """Drops a hold; of an expired one, takes its charge back."""
    hold = _find(step, op.id)
    if not isinstance(hold, Hold):
        return hold
    if hold.state not in (HoldState.OPEN, HoldState.EXPIRED):
        return wire.AlreadySettled()
    lost = hold.state is HoldState.EXPIRED
    if lost and _taken_off_before(hold, {}):
        return wire.AlreadySettled()
    step.record(changes.HoldReleased(step.now_ms, step.component, op.id, op.reason))
    if lost:
        _corrected(step, hold, Amount())
    return wire.Released()


def _corrected(step: Step, hold: Hold, used: Amount) -> None:
    """Says what a lost hold had truly used; also to the records of its sessions, where they have folded."""
    step.audit(hold.first.path, AuditedCorrection(step.component, hold.id, used))
    change = minus(used.vector(), hold.amount)
    for path in step.state.left_of(hold):
        step.records.append(session_record(SessionUsage.correction(path, change), step.now_ms))


def _taken_off_before(hold: Hold, used: Vector) -> bool:
    """Whether an `adjust` took the charge of a lost hold off already: to correct it too would go below zero."""
    back = {index: amount - used.get(index, 0) for index, amount in hold.amount.items()}
    return any(account.spent[index] < amount for account in hold.chain for index, amount in back.items())


def beyond_counting(
    chain: Chain, more: Vector, total: int = MAX_AMOUNT, at_once: int = MAX_AMOUNT
) -> wire.Invalid | None:
    """The refusal of what is more than `at_once`, or would bring a total above `total`.

    No total may ever be larger than journal, snapshot and wire can say.
    """
    for index, amount in more.items():
        if amount > at_once:
            return wire.Invalid(f"{describe(RESOURCES[index], amount)} at once: absurd")
    for account in chain:
        for index, amount in more.items():
            if account.spent[index] + account.held[index] + amount > total:
                most = describe(RESOURCES[index], total)
                return wire.Invalid(f"{account.path} would have held and spent more than {most}: absurd")
    return None


_SETTLED = wire.Settled()


def _asked(op: wire.Reserve | wire.Extend) -> tuple[Vector, Vector]:
    """What is wanted, and at least: one vector where they are equal, as they mostly are."""
    want = op.want.vector()
    return want, want if op.at_least == op.want else op.at_least.vector()


def _find(step: Step, hold_id: str) -> Hold | wire.AlreadySettled | wire.UnknownHold | wire.Invalid | wire.Forbidden:
    """The hold of an id, or what is known of it."""
    identity = identity_of(hold_id)
    if identity is None:
        return wire.Invalid(f"{hold_id!r} has no sequence after its {MARK}: write <holder>{MARK}<1, 2, …>")
    if not identity.sequence:
        return step.state.named.get((step.component, hold_id)) or wire.UnknownHold(hold_id)
    holder = step.state.holders.get(identity.holder)
    if holder is None:
        return wire.UnknownHold(hold_id)
    if holder.component != step.component:
        return wire.Forbidden(f"holder {holder.name} is of {holder.component}, not of {step.component}")
    hold = holder.holds.get(identity.sequence)
    if hold is not None:
        return hold
    return wire.AlreadySettled() if identity.sequence <= holder.watermark else wire.UnknownHold(hold_id)


def _make_room(step: Step, full: Full, speculative: bool) -> wire.Wait:
    """Recalls as many speculative holds as a real call needs. They stay until they are given back: some may be in use.

    Nothing is known of them here: their holders use them without a word, which is what they are for.
    """
    if speculative or full.missing <= 0:
        return full.wait
    missing, recalled = full.missing, list[tuple[str, str]]()
    for hold in full.account.recallable:
        if missing <= 0:
            break
        amount = hold.amount.get(full.resource, 0)
        if amount:
            missing -= amount
            recalled.append((hold.component, hold.id))
    if recalled:
        step.record(changes.HoldsRecalled(step.now_ms, full.account.path, tuple(recalled)))
    return full.wait


def _held_in_full(hold: Hold, want: Vector) -> wire.Invalid | None:
    """Whether somebody above asks for full holds, and this would make one grow."""
    if not want or want.keys() <= TIME or holds_of(hold.chain) is HoldPolicy.PROGRESSIVE:
        return None
    return wire.Invalid(f"hold {hold.id} cannot grow: an account above it has holds: Full; hold all of it at once")


def holds_of(chain: Chain) -> HoldPolicy:
    """How calls are held here: in full, where any account says so, or the Agent of a sub-session among them."""
    full = any(each.allowance.holds is HoldPolicy.FULL for account in chain for each in _who_bounds(account))
    return HoldPolicy.FULL if full else HoldPolicy.PROGRESSIVE


def _who_bounds(account: Account) -> Chain:
    """The account itself, and the Agent that a sub-session's bounds come from beside its path."""
    agent = None if account.session is None else account.session.agent
    return (account,) if agent is None else (account, agent)


def _repeated(hold: Hold) -> HoldAnswer:
    if hold.state is HoldState.OPEN:
        return wire.Granted(Amount.of(hold.first.amount))
    # Nothing is held any more: the first answer would let the act happen without cover.
    return _expired(hold) if hold.state is HoldState.EXPIRED else wire.IdReused(hold.id)


def _expired(hold: Hold) -> Refused:
    return Refused(
        reason=RefusalReason.HOLD_EXPIRED,
        account=hold.chain[0].path,
        message=f"hold {hold.id} has expired and was charged: reserve under another id",
    )


def _closed(chain: Chain) -> Refused | None:
    """Why nothing more may be held here at all, if so."""
    for account in chain:
        session = account.session
        if session is not None and (over := session.over) is not None:
            return session_ended(account.path, over.reason, over.message)
        if account.removed:
            return account_removed(account)
    session = chain[0].session
    return None if session is None or session.parked_by is None else parked(chain[0], session.parked_by)


def storage_full(path: str) -> Refused:
    """The refusal of whatever begins while the disk is full. What is a repeat has had its answer before."""
    return Refused(
        reason=RefusalReason.STORAGE_FULL,
        account=path,
        message="the ledger's disk has room left only to settle what is held: nothing new is held until it has more",
    )


def account_removed(account: Account) -> Refused:
    """The refusal of whatever is under a removed account."""
    return Refused(reason=RefusalReason.ACCOUNT_REMOVED, account=account.path, message=f"{account.path} was removed")
