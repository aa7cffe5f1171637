"""What the tree looks like from outside: accounts as `wire.Usage`."""

import msgspec

from ambit.ledger.accounts import Account
from ambit.ledger.admission import standing_of
from ambit.ledger.allowance import LIFETIME_PLACE
from ambit.ledger.amounts import Amount, Window
from ambit.ledger.history import SessionUsage
from ambit.ledger.paths import kind_of
from ambit.ledger.sessions import Session
from ambit.ledger.state import State
from ambit.ledger.wire import HoldView, LimitUsage, Usage
from ambit.ledger.wire import State as AccountState


def usage(state: State, account: Account, now_ms: int) -> Usage:
    """One account as it stands at `now_ms`."""
    state.turn(account, now_ms)
    view = Usage(
        path=account.path,
        state=state_of(account),
        parent=None if account.parent is None else account.parent.path,
        limits=tuple(
            LimitUsage(
                limit.window,
                limit.resource,
                limit.amount,
                *standing_of(account, limit, now_ms),
                None if limit.window is Window.LIFETIME else now_ms - account.window_begun_ms(limit.window),
            )
            for limit in account.limits
        ),
        spent=Amount.of(account.spent_in(LIFETIME_PLACE)),
        held=Amount.of(account.held_in(LIFETIME_PLACE)),
        overrun=Amount.of(account.overrun),
        sessions=account.sessions_open if account.session is None else 0,
        concurrent_sessions=account.allowance.concurrent_sessions,
        enforcement=account.allowance.enforcement,
    )
    return view if account.session is None else _with_session(view, account.session, now_ms)


def session_usage(account: Account, session: Session, at_ms: int) -> SessionUsage:
    """What a session used until `at_ms`, and all that its usage is counted by."""
    above = tuple(each.path for each in account.chain()[1:])
    agent = next((path for path in above if kind_of(path) == "agent"), None)
    return SessionUsage(
        path=account.path,
        above=above,
        agent=agent if session.agent is None else session.agent.path,
        user=session.user,
        labels=session.labels,
        opened_ms=session.opened_ms,
        ended_ms=at_ms,
        reason=None if session.ending is None else session.ending.reason,
        spent=account.spent_in(LIFETIME_PLACE),
        message="" if session.ending is None else session.ending.message,
    )


def state_of(account: Account) -> AccountState:
    """Whether an account is open, removed, or a session that ended."""
    if account.session is not None and account.session.ending is not None:
        return AccountState.ENDED
    return AccountState.REMOVED if account.removed else AccountState.OPEN


def _with_session(view: Usage, session: Session, now_ms: int) -> Usage:
    ending = session.ending
    return msgspec.structs.replace(
        view,
        attributes=session.attributes,
        user=session.user,
        labels=session.labels,
        parked=session.parked_by is not None,
        agent=None if session.agent is None else session.agent.path,
        holds=tuple(
            HoldView(
                hold.id,
                hold.component,
                Amount.of(hold.amount),
                max(hold.expires_ms - now_ms, 0),
                hold.sequence,
                hold.speculative,
            )
            for hold in session.holds
        ),
        age_ms=now_ms - session.opened_ms,
        closed_reason=None if ending is None else ending.reason,
        closed_message="" if ending is None else ending.message,
        closed_age_ms=None if ending is None else now_ms - ending.at_ms,
    )
