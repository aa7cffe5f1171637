"""Putting, removing and correcting the accounts of Budgets and Agents. The operator's alone."""

import msgspec

from ambit.api.time_zones import is_time_zone
from ambit.ledger import changes, wire
from ambit.ledger.accounts import Account
from ambit.ledger.allowance import Allowance
from ambit.ledger.amounts import INDEX, MAX_AMOUNT, Limit, describe
from ambit.ledger.audit import AuditedAdjustment, AuditedLimits, AuditedRemoval
from ambit.ledger.ending import end_sessions
from ambit.ledger.exhaustion import unapplied
from ambit.ledger.hold_operations import beyond_counting
from ambit.ledger.paths import kind_of, misplaced
from ambit.ledger.policy_operations import top_up, warn
from ambit.ledger.step import Step
from ambit.telemetry.reasons import SessionEnd

OPERATOR = "operator"
MAX_DEPTH = 32
"""Of accounts above one another: what one hold costs grows with it."""


def repeated_limit(limits: tuple[Limit, ...]) -> wire.Invalid | None:
    """Two limits for the same thing, of which one would be silently ignored."""
    seen = {(limit.window, limit.resource) for limit in limits}
    if len(seen) == len(limits):
        return None
    return wire.Invalid("a window limits a resource twice: write one limit for each window and resource")


def put(step: Step, op: wire.PutAccount) -> wire.AccountPut | wire.ErrorResult:
    """Makes an account, or sets what it allows and its zone; what it has spent stays."""
    refused = only_operator(step) or misplaced(op.path, op.parent) or _wrong_allowance(op)
    if refused is not None:
        return refused
    account = step.state.accounts.get(op.path)
    parent = None if op.parent is None else step.state.accounts.get(op.parent)
    if op.parent is not None and parent is None:
        return wire.UnknownAccount(op.parent)
    moved = account is not None and account.parent is not parent
    if account is not None and moved and not account.removed:
        kept = "none" if account.parent is None else account.parent.path
        return wire.Invalid(f"the parent of {op.path} is {kept} and cannot change while it lives: remove it first")
    above = () if parent is None else parent.chain()
    if account is not None and account in above:
        return wire.Invalid(f"{op.parent} is under {op.path}: a cycle of parents bounds nothing")
    if len(above) + _height(account) >= MAX_DEPTH:
        return wire.Invalid(f"{op.path} would be {len(above) + 1} accounts deep: at most {MAX_DEPTH}")
    if account is not None:
        step.state.turn(account, step.now_ms)
    absurd = _too_much(account, op)
    if absurd is not None:
        return absurd
    allowance = _allowance(op)
    if account is None or account.removed or (account.allowance, account.zone) != (allowance, op.time_zone):
        before = None if account is None or account.removed else _bounding(account.allowance, account.zone)
        step.record(changes.AccountChanged(step.now_ms, op.path, op.parent, allowance, op.time_zone))
        if before != _bounding(allowance, op.time_zone):
            step.audit(op.path, _audited(op, allowance))
        account = step.state.accounts[op.path]
        top_up(step, account, op.top_ups)
        warn(step, (account,))
    return wire.AccountPut()


def _bounding(allowance: Allowance, zone: str) -> tuple[Allowance, str]:
    """What decides how much an account allows, in whatever order it was written. Top-ups have records of their own, and
    a warning bounds nothing.
    """
    users = allowance.user_limits
    plain = msgspec.structs.replace(
        allowance,
        limits=_sorted(allowance.limits),
        user_limits=None if users is None else _sorted(users),
        warn_at=(),
        top_ups=(),
    )
    return plain, zone


def _sorted(limits: tuple[Limit, ...]) -> tuple[Limit, ...]:
    return tuple(sorted(limits, key=lambda limit: (limit.window, limit.resource)))


def _audited(op: wire.PutAccount, allowance: Allowance) -> AuditedLimits:
    """All that it is put with but the top-ups, which are audited as they are applied."""
    return AuditedLimits(
        limits=allowance.limits,
        time_zone=op.time_zone,
        concurrent_sessions=allowance.concurrent_sessions,
        enforcement=allowance.enforcement,
        when_exhausted=allowance.when_exhausted,
        user_limits=allowance.user_limits,
        parent=op.parent,
        warn_at=allowance.warn_at,
        holds=allowance.holds,
        generation=op.generation,
    )


def _allowance(op: wire.PutAccount) -> Allowance:
    """What it is put with: the fields that both have."""
    return Allowance(*[getattr(op, name) for name in Allowance.__struct_fields__])


def _too_much(account: Account | None, op: wire.PutAccount) -> wire.Invalid | None:
    """Top-ups that raise a limit, with those that it was raised by before, beyond what can be counted."""
    policy = None if account is None else account.policy
    raised = {} if policy is None else {bound: each.amount for bound, each in policy.raises.items()}
    for each in unapplied(op.top_ups, () if policy is None else policy.applied):
        bound = (each.window, each.resource)
        raised[bound] = raised.get(bound, 0) + each.amount
        if raised[bound] > MAX_AMOUNT:
            most = describe(each.resource, MAX_AMOUNT)
            return wire.Invalid(f"the topUps of {each.resource} in a {each.window} are more than {most}: absurd")
    return None


def _wrong_allowance(op: wire.PutAccount) -> wire.Invalid | None:
    kind = kind_of(op.path)
    if kind not in ("budget", "agent"):
        return wire.Invalid(f"{op.path} is no Budget's or Agent's: sessions are opened, and users come with them")
    if not is_time_zone(op.time_zone):
        return wire.Invalid(f"{op.time_zone!r} is no time zone: write an IANA name, for example Europe/Berlin")
    if op.user_limits is not None and kind != "agent":
        return wire.Invalid(f"{op.path} is no Agent: only an Agent has userLimits")
    if len({top_up.id for top_up in op.top_ups}) < len(op.top_ups):
        return wire.Invalid("two top-ups have the same id: each is applied once by its id")
    return repeated_limit(op.limits) or repeated_limit(op.user_limits or ())


def _height(account: Account | None) -> int:
    """How deep the tree is under an account that comes back; sessions apart."""
    below = () if account is None else [each for each in account.children.values() if each.session is None]
    return max((1 + _height(each) for each in below), default=0)


def remove(step: Step, op: wire.RemoveAccount) -> wire.AccountRemoved | wire.ErrorResult:
    """Makes an account a tombstone and kills the sessions under it. Of one that never was: nothing to do."""
    refused = only_operator(step)
    if refused is not None:
        return refused
    account = step.state.accounts.get(op.path)
    if account is None:
        return wire.AccountRemoved()
    if kind_of(op.path) not in ("budget", "agent"):
        return wire.Invalid(f"{op.path} is no Budget's or Agent's: sessions are closed or killed, and users stay")
    if not account.removed:
        step.record(changes.AccountGone(step.now_ms, op.path))
        step.audit(op.path, AuditedRemoval())
    end_sessions(step, account, SessionEnd.ACCOUNT_REMOVED, f"{op.path} was removed")
    return wire.AccountRemoved()


def adjust(step: Step, op: wire.Adjust) -> wire.Adjusted | wire.ErrorResult:
    """Corrects what an account and all above it have spent."""
    refused = only_operator(step)
    if refused is not None:
        return refused
    account = step.state.accounts.get(op.path)
    if account is None:
        return wire.UnknownAccount(op.path)
    index = INDEX[op.resource]
    for each in account.chain():
        if each.spent[index] + op.amount < 0:
            spent = describe(op.resource, each.spent[index])
            return wire.Invalid(f"{each.path} has spent {spent}: take off at most that much")
    if op.amount > 0 and (absurd := beyond_counting(account.chain(), {index: op.amount})) is not None:
        return absurd
    if op.amount:
        step.record(changes.Adjusted(step.now_ms, op.path, {index: op.amount}))
        step.audit(op.path, AuditedAdjustment(op.resource, op.amount, op.reason, op.by))
        warn(step, account.chain())
    return wire.Adjusted()


def only_operator(step: Step) -> wire.Forbidden | None:
    """The refusal of whatever is the operator's alone, to anybody else."""
    if step.component == OPERATOR:
        return None
    return wire.Forbidden(f"{step.component} may not change accounts or the ledger itself: only the {OPERATOR} may")
