"""What is answered for sessions that have left the tree: their records say that they have ended, and what they used.

An ended session folds out of memory. Were it unknown from then on, the next `open` of its path would begin it anew, and
its limits of a lifetime with it.
"""

from collections.abc import Iterable

from ambit.ledger import wire
from ambit.ledger.amounts import Amount
from ambit.ledger.ending import session_ended
from ambit.ledger.history import SessionUsage
from ambit.ledger.paths import kind_of
from ambit.ledger.state import State
from ambit.ledger.wire import State as AccountState

Known = dict[str, SessionUsage | None]
"""What the records say of sessions that the tree does not know; None: that they never were, as far as is remembered."""


def unknown(ops: Iterable[wire.AnyOperation], state: State, known: Known) -> list[str]:
    """The sessions of `ops` that neither the tree nor `known` knows: their records have to be asked."""
    return [
        path
        for op in ops
        for path in _named(op)
        if path not in state.accounts and path not in known and kind_of(path) == "session"
    ]


def instead(op: wire.AnyOperation, state: State, known: Known, now_ms: int) -> wire.AnyResult | None:
    """The answer that the tree cannot give: it would begin a session anew that has left it."""
    if not isinstance(op, wire.Open) or op.path in state.accounts:
        return None
    session = known.get(op.path)
    return None if session is None else _answer(op, session, now_ms)


def known_better(op: wire.AnyOperation, result: wire.AnyResult, known: Known, now_ms: int) -> wire.AnyResult:
    """The tree's answer, or what is known of the session that it does not know."""
    session = known.get(result.path) if isinstance(result, wire.UnknownAccount) else None
    return result if session is None else _answer(op, session, now_ms)


def _named(op: wire.AnyOperation) -> tuple[str, ...]:
    """The accounts that an operation needs, where they may be sessions."""
    match op:
        case wire.Reserve() | wire.Close() | wire.Kill() | wire.GetUsage():
            return (op.path,)
        case wire.Open():
            return (op.path, op.parent)
        case _:
            return ()


def _answer(op: wire.AnyOperation, session: SessionUsage, now_ms: int) -> wire.AnyResult:
    match op:
        case wire.GetUsage():
            return _usage(session, now_ms)
        case wire.Close():
            return wire.SessionClosed(_usage(session, now_ms))
        case wire.Kill():
            return wire.Killed((), wire.Confirmation.OBSERVED)
        case _:
            return session_ended(session.path, session.reason, session.message)


def _usage(session: SessionUsage, now_ms: int) -> wire.Usage:
    return wire.Usage(
        path=session.path,
        state=AccountState.ENDED,
        parent=session.above[0],
        spent=Amount.of(session.spent),
        age_ms=now_ms - session.opened_ms,
        closed_reason=session.reason,
        closed_message=session.message,
        closed_age_ms=now_ms - session.ended_ms,
        user=session.user,
        labels=session.labels,
        agent=session.agent if session.agent not in session.above else None,
    )
