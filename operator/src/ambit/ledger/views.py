"""What the tree looks like from outside: accounts as `wire.Usage`."""

from ambit.ledger.accounts import Account, Session
from ambit.ledger.amounts import INDEX, Amount, Window
from ambit.ledger.wire import HoldView, LimitUsage, State, Usage


def usage(account: Account, now_ms: int) -> Usage:
    """One account as it stands at `now_ms`."""
    lifetime = account.counter(Window.LIFETIME, now_ms)
    view = Usage(
        path=account.path,
        state=state_of(account),
        parent=None if account.parent is None else account.parent.path,
        limits=tuple(_limits(account, now_ms)),
        spent=Amount.of(lifetime.spent),
        held=Amount.of(lifetime.held),
        overrun=Amount.of(account.overrun),
    )
    return view if account.session is None else _with_session(view, account.session, now_ms)


def state_of(account: Account) -> State:
    """Whether an account is open, removed, or a session that ended."""
    if account.session is not None and account.session.ending is not None:
        return State.ENDED
    return State.REMOVED if account.removed else State.OPEN


def _limits(account: Account, now_ms: int) -> list[LimitUsage]:
    found: list[LimitUsage] = []
    for limit in account.limits:
        counter = account.counter(limit.window, now_ms)
        index = INDEX[limit.resource]
        end_ms = counter.span.end_ms
        resets_in_ms = None if end_ms is None else end_ms - now_ms
        spent, held = counter.spent.get(index, 0), counter.held.get(index, 0)
        found.append(LimitUsage(limit.window, limit.resource, limit.amount, spent, held, resets_in_ms))
    return found


def _with_session(view: Usage, session: Session, now_ms: int) -> Usage:
    ending = session.ending
    return Usage(
        path=view.path,
        state=view.state,
        parent=view.parent,
        attributes=session.attributes,
        limits=view.limits,
        spent=view.spent,
        held=view.held,
        overrun=view.overrun,
        holds=tuple(
            HoldView(hold.id, hold.component, Amount.of(hold.amount), max(hold.expires_ms - now_ms, 0), hold.sequence)
            for hold in session.holds.values()
        ),
        age_ms=now_ms - session.opened_ms,
        closed_reason=None if ending is None else ending.reason,
        closed_message="" if ending is None else ending.message,
        closed_age_ms=None if ending is None else now_ms - ending.at_ms,
    )
