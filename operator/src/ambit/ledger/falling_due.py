"""What happens by the passing of time: holds expire, sessions are abandoned, ended ones fold."""

from ambit.ledger import changes
from ambit.ledger.accounts import Account
from ambit.ledger.amounts import Amount
from ambit.ledger.audit import AuditedLoss
from ambit.ledger.ending import close_session, end_doomed
from ambit.ledger.history import session_record
from ambit.ledger.policy_operations import wake_due, warn
from ambit.ledger.sessions import Ending, Session
from ambit.ledger.state import State
from ambit.ledger.state_of_sessions import FOLD_AFTER_MS, is_idle
from ambit.ledger.step import Step
from ambit.ledger.timers import NEVER
from ambit.ledger.views import session_usage
from ambit.telemetry.reasons import SessionEnd


def next_due_ms(state: State) -> int:
    """When something may fall due next; far away, if nothing will."""
    if state.doomed:
        return state.now_ms
    return min(state.expiries.next_ms, state.session_timers.next_ms, _next_wake_ms(state))


def fall_due(step: Step, at_most: int) -> None:
    """What is due by the step's time; of each kind at most so much, the rest in steps to come."""
    state, now_ms = step.state, step.now_ms
    if state.doomed:
        end_doomed(step, at_most)
    if state.expiries.next_ms <= now_ms:
        for hold in state.expiries.due(now_ms, at_most):
            step.record(changes.HoldExpired(now_ms, hold.component, hold.id))
            step.audit(hold.chain[0].path, AuditedLoss(hold.component, hold.id, Amount.of(hold.amount)))
            warn(step, hold.chain)
    if state.session_timers.next_ms <= now_ms:
        for account in state.session_timers.due(now_ms, at_most):
            if account.session is not None and state.accounts.get(account.path) is account:
                _look_at(step, account, account.session)
    if _next_wake_ms(state) <= now_ms:
        wake_due(step, at_most)


def _next_wake_ms(state: State) -> int:
    """None wakes before it is known what was spent since a backup: there may be no room for it."""
    return NEVER if state.restore_pending else state.wake_timers.next_ms


def _look_at(step: Step, account: Account, session: Session) -> None:
    state, now_ms = step.state, step.now_ms
    if session.ending is not None:
        due_ms = session.idle_since_ms + FOLD_AFTER_MS
        if account.sessions_open or account.children:
            state.time_again(account, session, now_ms + FOLD_AFTER_MS)
        elif due_ms > now_ms:
            state.time_again(account, session, due_ms)
        else:
            _fold(step, account, session, session.ending)
    elif not is_idle(account, session):
        state.time_again(account, session, 0)
    elif session.idle_since_ms + session.grace_ms > now_ms:
        state.time_again(account, session, session.idle_since_ms + session.grace_ms)
    else:
        close_session(step, account, SessionEnd.ABANDONED, "nothing was held for it any more")


def _fold(step: Step, account: Account, session: Session, ending: Ending) -> None:
    """Its usage goes to the records; what it spent is in the accounts above it since it was spent."""
    step.records.append(session_record(session_usage(account, session, ending.at_ms), step.now_ms))
    step.record(changes.SessionFolded(step.now_ms, account.path))
