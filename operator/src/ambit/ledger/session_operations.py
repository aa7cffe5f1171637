"""Opening, closing, killing sessions, and looking at them."""

from heapq import nsmallest

from ambit.ledger import changes, wire
from ambit.ledger.account_operations import MAX_DEPTH, repeated_limit
from ambit.ledger.accounts import Account
from ambit.ledger.admission import crowded
from ambit.ledger.allowance import tightened
from ambit.ledger.amounts import Window
from ambit.ledger.audit import AuditedKill
from ambit.ledger.ending import close_session, end_sessions, session_ended
from ambit.ledger.history import sessions_of
from ambit.ledger.hold_operations import account_removed, holds_of, storage_full
from ambit.ledger.paths import kind_of, misplaced, user_path
from ambit.ledger.sessions import Session
from ambit.ledger.step import Step
from ambit.ledger.views import usage
from ambit.telemetry.reasons import SessionEnd

OpenAnswer = wire.Opened | wire.Refused | wire.Wait | wire.ErrorResult


def open_session(step: Step, op: wire.Open) -> OpenAnswer:
    """Opens a session; of one that is open, says so and what it is."""
    refused = misplaced(op.path, op.parent) or repeated_limit(op.limits)
    if refused is not None:
        return refused
    if kind_of(op.path) != "session":
        return wire.Invalid(f"{op.path} is no session: write session/<namespace>/<name>")
    if any(limit.window is not Window.LIFETIME for limit in op.limits):
        return wire.Invalid("a session counts its lifetime only: write window Lifetime, or limit its Agent or Budget")
    account = step.state.accounts.get(op.path)
    if account is not None and account.session is not None:
        return _opened_before(account, account.session, op)
    # The fold may be of this very step: whoever asked whether the session is known did so before.
    folded = next((each for each in sessions_of(step.records) if each.path == op.path), None)
    if folded is not None:
        return session_ended(folded.path, folded.reason, folded.message)
    if step.settling_only:
        return storage_full(op.path)
    parent = step.state.accounts.get(op.parent)
    if parent is None:
        return wire.UnknownAccount(op.parent)
    agent = None if op.agent is None else step.state.accounts.get(op.agent)
    if op.agent is not None:
        if parent.session is None:
            return wire.Invalid(f"{op.parent} is no session: only a sub-session names its agent beside its parent")
        if kind_of(op.agent) != "agent":
            return wire.Invalid(f"{op.agent} is no Agent: write agent/<namespace>/<name>")
        if agent is None:
            return wire.UnknownAccount(op.agent)
    chain = parent.chain()
    if len(chain) >= MAX_DEPTH:
        return wire.Invalid(f"{op.path} would be {len(chain) + 1} accounts deep: at most {MAX_DEPTH}")
    if agent is not None and agent not in chain:
        chain = (agent, *chain)
    else:
        agent = None  # it is above already, and bounds and counts the session from there
    shadow: list[wire.Denial] = []
    denied = _not_open(chain) or crowded(chain, shadow)
    if denied is not None:
        return denied
    owner = _owner(step, op, parent)
    if not isinstance(owner, str):
        return owner
    named = None if op.agent is None else step.state.accounts[op.agent]
    limits = op.limits if named is None or named.in_shadow else tightened(op.limits, named.allowance.limits)
    step.record(
        changes.SessionBegun(
            step.now_ms,
            op.path,
            owner,
            limits,
            op.attributes,
            op.grace_ms,
            op.user,
            op.labels,
            None if agent is None else agent.path,
        )
    )
    return wire.Opened(already=False, attributes=op.attributes, holds=holds_of(chain), shadow=tuple(shadow))


def _opened_before(account: Account, session: Session, op: wire.Open) -> OpenAnswer:
    parent = account.parent
    if parent is not None and kind_of(parent.path) == "user" and kind_of(op.parent) == "agent":
        parent = parent.parent
    if parent is None or parent.path != op.parent:
        return wire.Invalid(f"{op.path} is open under another parent: a session stays where it was opened")
    if (over := session.over) is not None:
        return session_ended(account.path, over.reason, over.message)
    return wire.Opened(already=True, attributes=session.attributes, holds=holds_of(account.chain()))


def _owner(step: Step, op: wire.Open, parent: Account) -> str | wire.Invalid:
    """The path of the account that the session stands under: its user's, where its Agent has limits by user."""
    if kind_of(parent.path) != "agent":
        return parent.path
    limits = parent.allowance.user_limits
    path = user_path(parent.path, op.user)
    if limits is None:
        # One that was made while there were such limits goes on counting, so that they come back to what was spent.
        return path if path in step.state.accounts else parent.path
    if not op.user:
        return wire.Invalid(f"{parent.path} has limits by user: say whose session it is")
    if path not in step.state.accounts:
        step.record(changes.AccountChanged(step.now_ms, path, parent.path, parent.allowance.of_a_user(), parent.zone))
    return path


def _not_open(chain: tuple[Account, ...]) -> wire.Refused | None:
    for above in chain:
        if above.session is not None and (over := above.session.over) is not None:
            return session_ended(above.path, over.reason, over.message)
        if above.removed:
            return account_removed(above)
    return None


def close(step: Step, op: wire.Close) -> wire.SessionClosed | wire.ErrorResult:
    """Ends a session; its first ending stays."""
    account = step.state.accounts.get(op.path)
    if account is None:
        return wire.UnknownAccount(op.path)
    if account.session is None:
        return wire.Invalid(f"{op.path} is no session: only sessions are closed")
    if account.session.ending is None:
        close_session(step, account, op.reason, op.message)
    return wire.SessionClosed(usage(step.state, account, step.now_ms))


def kill(step: Step, op: wire.Kill) -> wire.Killed | wire.ErrorResult:
    """Ends every session at and under an account, and says which are not yet gone."""
    account = step.state.accounts.get(op.path)
    if account is None:
        return wire.UnknownAccount(op.path)
    sessions = [(each.path, each.session) for each in account.sessions() if each.session is not None]
    lingering = [path for path, session in sessions if not session.gone]
    ends_some = any(session.over is None for _, session in sessions)
    if ends_some or account.kill is None:
        step.record(changes.KillBegun(step.now_ms, op.path))
    ended = end_sessions(step, account, SessionEnd.KILLED, f"{op.reason} (by {op.by})")
    if ended:
        step.audit(op.path, AuditedKill(op.reason, op.by, ended))
    confirm_kills(step)
    named = tuple(nsmallest(wire.MAX_NAMED, lingering))
    return wire.Killed(named, None if account.kill is None else account.kill.confirmed)


def confirm_kills(step: Step) -> None:
    """Notes the kills of which nothing may act any more."""
    for account in list(step.state.confirmable):
        kill = account.kill
        if kill is not None:
            how = wire.Confirmation.PRESUMED if kill.presumed else wire.Confirmation.OBSERVED
            step.record(changes.KillEnded(step.now_ms, account.path, how, step.now_ms - kill.at_ms))


def look(step: Step, op: wire.GetUsage) -> wire.Usage | wire.ErrorResult:
    """One account."""
    account = step.state.accounts.get(op.path)
    return wire.UnknownAccount(op.path) if account is None else usage(step.state, account, step.now_ms)


def turn_for_history(step: Step, op: wire.GetHistory) -> wire.History | wire.ErrorResult:
    """Records what has ended of an account. The windows themselves are in the records, which the caller has."""
    account = step.state.accounts.get(op.path)
    if account is None:
        return wire.UnknownAccount(op.path)
    step.state.turn(account, step.now_ms)
    return wire.History(())
