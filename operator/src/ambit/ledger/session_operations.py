"""Opening, closing, killing sessions, and looking at them."""

from ambit.ledger import changes, wire
from ambit.ledger.account_operations import end_sessions, misplaced, repeated_limit
from ambit.ledger.accounts import Session
from ambit.ledger.amounts import Window
from ambit.ledger.hold_operations import account_removed, session_ended
from ambit.ledger.step import Step
from ambit.ledger.views import state_of, usage
from ambit.telemetry.reasons import SessionEnd


def open_session(step: Step, op: wire.Open) -> wire.Opened | wire.Refused | wire.ErrorResult:
    """Opens a session; of one that is open, says so and what it is."""
    refused = misplaced(op.path, op.parent) or repeated_limit(op.limits)
    if refused is not None:
        return refused
    if not op.path.startswith("session/"):
        return wire.Invalid(f"{op.path} is no session: write session/<namespace>/<name>")
    if any(limit.window is not Window.LIFETIME for limit in op.limits):
        return wire.Invalid("a session counts its lifetime only: write window Lifetime, or limit its Agent or Budget")
    account = step.state.accounts.get(op.path)
    if account is not None and account.session is not None:
        if account.parent is None or account.parent.path != op.parent:
            return wire.Invalid(f"{op.path} is open under another parent: a session stays where it was opened")
        if account.session.ending is not None:
            return session_ended(account)
        return wire.Opened(already=True, attributes=account.session.attributes)
    parent = step.state.accounts.get(op.parent)
    if parent is None:
        return wire.UnknownAccount(op.parent)
    for above in parent.chain():
        if above.removed:
            return account_removed(above)
    step.record(changes.SessionBegun(step.now_ms, op.path, op.parent, op.limits, op.attributes, op.grace_ms))
    return wire.Opened(already=False, attributes=op.attributes)


def close(step: Step, op: wire.Close) -> wire.SessionClosed | wire.ErrorResult:
    """Ends a session; its first ending stays."""
    account = step.state.accounts.get(op.path)
    if account is None:
        return wire.UnknownAccount(op.path)
    if account.session is None:
        return wire.Invalid(f"{op.path} is no session: only sessions are closed")
    if account.session.ending is None:
        step.record(changes.SessionOver(step.now_ms, op.path, op.reason, op.message, cut=False))
    return wire.SessionClosed(usage(account, step.now_ms))


def kill(step: Step, op: wire.Kill) -> wire.Killed | wire.ErrorResult:
    """Ends every session at and under an account, and says which are not yet gone."""
    account = step.state.accounts.get(op.path)
    if account is None:
        return wire.UnknownAccount(op.path)
    lingering = [each.path for each in account.sessions() if _may_still_act(each.session)]
    end_sessions(step, account, SessionEnd.KILLED, f"{op.reason} (by {op.by})")
    return wire.Killed(tuple(sorted(lingering)))


def _may_still_act(session: Session | None) -> bool:
    return session is not None and (session.ending is None or bool(session.holds))


def look(step: Step, op: wire.GetUsage) -> wire.Usage | wire.ErrorResult:
    """One account."""
    account = step.state.accounts.get(op.path)
    return wire.UnknownAccount(op.path) if account is None else usage(account, step.now_ms)


def list_sessions(step: Step, op: wire.ListSessions) -> wire.Sessions | wire.ErrorResult:
    """The sessions under an account or of a namespace."""
    if "/" in op.under:
        account = step.state.accounts.get(op.under)
        if account is None:
            return wire.UnknownAccount(op.under)
        found = list(account.sessions())
    else:
        everything = step.state.accounts.values()
        found = [each for each in everything if each.session is not None and each.namespace == op.under]
    wanted = [each for each in found if op.state is None or state_of(each) is op.state]
    wanted.sort(key=lambda each: (0 if each.session is None else each.session.opened_ms, each.path))
    return wire.Sessions(tuple(usage(each, step.now_ms) for each in wanted))
