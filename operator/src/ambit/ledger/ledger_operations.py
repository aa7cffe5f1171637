"""What concerns the ledger itself: its clock, and its coming back from a backup."""

from ambit.ledger import changes, wire
from ambit.ledger.account_operations import only_operator
from ambit.ledger.amounts import total
from ambit.ledger.audit import AuditedClock, AuditedRestore
from ambit.ledger.hold_operations import beyond_counting
from ambit.ledger.policy_operations import warn
from ambit.ledger.step import Step


def accept_clock(step: Step, op: wire.AcceptClock) -> wire.ClockAccepted | wire.ErrorResult:
    """Time goes by the clock again, from the next reading on."""
    refused = only_operator(step)
    if refused is not None:
        return refused
    if step.state.clock_doubted:
        step.record(changes.ClockTrusted(step.now_ms))
        step.audit("", AuditedClock(op.reason, op.by))
    return wire.ClockAccepted()


def resume(step: Step, op: wire.Resume) -> wire.Resumed | wire.ErrorResult:
    """Counts what was spent after the backup, and answers again."""
    refused = only_operator(step)
    if refused is not None:
        return refused
    if not step.state.restore_pending:
        return wire.Invalid("the ledger was not restored, or has resumed: correct an account by adjust")
    if op.forget is bool(op.spent):
        return wire.Invalid("say what was spent since the backup, or forget: true, and not both")
    together = total(each.amount.vector() for each in op.spent)
    for each in op.spent:
        account = step.state.accounts.get(each.path)
        if account is None:
            return wire.UnknownAccount(each.path)
        if (absurd := beyond_counting(account.chain(), together)) is not None:
            return absurd
    for each in op.spent:
        step.record(changes.Adjusted(step.now_ms, each.path, each.amount.vector()))
        step.audit(each.path, AuditedRestore(each.amount, op.reason, op.by))
        warn(step, step.state.accounts[each.path].chain())
    if op.forget:
        step.audit("", AuditedRestore(None, op.reason, op.by))
    step.record(changes.RestoreEnded(step.now_ms))
    return wire.Resumed()


def while_restoring(step: Step, op: wire.AnyOperation) -> wire.AnyResult:
    """The answer to anything before it is known what was spent since the backup."""
    if isinstance(op, wire.Resume):
        return resume(step, op)
    return wire.Refused(
        reason=wire.RefusalReason.RESTORE_PENDING,
        account="",
        message="the ledger was restored from a backup: say what was spent since, or forget it (ambit ledger resume)",
    )
