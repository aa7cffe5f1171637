"""Ending sessions: what a close, a kill, and the removal of an account have in common."""

from itertools import islice

from ambit.ledger import changes, wire
from ambit.ledger.accounts import Account
from ambit.ledger.step import Step
from ambit.telemetry.reasons import SessionEnd

ENDED_AT_ONCE = 250
"""How many sessions end in one step: it is all that the ledger does meanwhile, and takes some ten milliseconds."""


def end_sessions(step: Step, account: Account, reason: SessionEnd, message: str) -> int:
    """Cuts every open session at and under an account; how many. Where they are many, most are cut in later steps.

    Nothing new is held for any of them from now on.
    """
    found = [each for each in account.sessions() if each.session is not None and each.session.over is None]
    if len(found) > ENDED_AT_ONCE:
        step.record(changes.EndingBegun(step.now_ms, account.path, reason, message))
        end_doomed(step, ENDED_AT_ONCE)
    else:
        for each in found:
            step.record(changes.SessionOver(step.now_ms, each.path, reason, message, cut=True))
    return len(found)


def end_doomed(step: Step, at_most: int) -> None:
    """Cuts the next of the sessions that are about to end."""
    for each in list(islice(step.state.doomed, at_most)):
        _cut_doomed(step, each)


def _cut_doomed(step: Step, account: Account) -> bool:
    """Ends a session as it was about to; whether it was."""
    doomed = None if account.session is None else account.session.doomed
    if doomed is None:
        return False
    step.record(changes.SessionOver(step.now_ms, account.path, doomed.reason, doomed.message, cut=True))
    return True


def close_session(step: Step, account: Account, reason: SessionEnd, message: str) -> None:
    """Ends one session by itself, and cuts those under it: nothing runs without its owner."""
    if _cut_doomed(step, account):
        return
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
