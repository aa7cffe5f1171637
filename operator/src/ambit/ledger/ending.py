"""Ending sessions: what a close, a kill, and the removal of an account have in common."""

from ambit.ledger import changes, wire
from ambit.ledger.accounts import Account
from ambit.ledger.step import Step
from ambit.telemetry.reasons import SessionEnd


def end_sessions(step: Step, account: Account, reason: SessionEnd, message: str) -> None:
    """Cuts every open session at and under an account."""
    for each in list(account.sessions()):
        if each.session is not None and each.session.ending is None:
            step.record(changes.SessionOver(step.now_ms, each.path, reason, message, cut=True))


def close_session(step: Step, account: Account, reason: SessionEnd, message: str) -> None:
    """Ends one session by itself, and cuts those under it: nothing runs without its owner."""
    step.record(changes.SessionOver(step.now_ms, account.path, reason, message, cut=False))
    end_sessions(step, account, reason, f"{account.path}, under which it ran, has ended")


def session_ended(path: str, reason: SessionEnd | None, message: str) -> wire.Refused:
    """The refusal of whatever concerns a session that has ended, in the tree or out of it by now."""
    return wire.Refused(
        reason=wire.RefusalReason.SESSION_ENDED,
        account=path,
        message=f"{path} has ended: {reason}" + (f", {message}" if message else ""),
        ended=reason,
    )
