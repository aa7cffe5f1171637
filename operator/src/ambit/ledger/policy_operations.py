"""What follows from what is spent: warnings, top-ups, and what becomes of the sessions of an exhausted account."""

from collections.abc import Iterable, Sequence

import msgspec

from ambit.ledger import changes
from ambit.ledger.accounts import Account
from ambit.ledger.admission import crowded, standing_of
from ambit.ledger.amounts import INDEX, Limit
from ambit.ledger.audit import AuditedTopUp
from ambit.ledger.ending import end_sessions
from ambit.ledger.exhaustion import Parked, has_room, is_exhausted, newly_reached, unapplied
from ambit.ledger.policy import Policy
from ambit.ledger.sessions import Session
from ambit.ledger.step import Step
from ambit.ledger.wire import Enforcement, RefusalReason, Refused, TopUp, Warned, WhenExhausted
from ambit.telemetry.reasons import SessionEnd

CROWDED_PAUSE_MS = 1000
"""How long a parked session that has room but no slot is left before the ledger looks again."""


def warn(step: Step, chain: Iterable[Account]) -> tuple[Warned, ...]:
    """Says, and notes, which percentages of their limits the accounts have reached since they were last looked at."""
    found: list[Warned] = []
    for account in chain:
        if account.policy is not None and account.allowance.warn_at and not account.removed:
            step.state.turn(account, step.now_ms)
            for limit in account.limits:
                found.extend(_reached(step, account, account.policy, limit))
    return tuple(found)


def _reached(step: Step, account: Account, policy: Policy, limit: Limit) -> Iterable[Warned]:
    spent, begun_ms = standing_of(account, limit, step.now_ms).spent, account.window_begun_ms(limit.window)
    said = policy.said.get((limit.window, limit.resource))
    for percent in newly_reached(limit.amount, spent, account.allowance.warn_at, begun_ms, said):
        step.record(changes.LimitReached(step.now_ms, account.path, limit.window, limit.resource, percent))
        yield Warned(account.path, limit.window, limit.resource, percent)


def top_up(step: Step, account: Account, top_ups: Sequence[TopUp]) -> None:
    """Applies those that never were."""
    applied = () if account.policy is None else account.policy.applied
    for each in unapplied(top_ups, applied):
        at_ms, path = step.now_ms, account.path
        step.record(changes.TopUpApplied(at_ms, path, each.id, each.window, each.resource, each.amount))
        step.audit(path, AuditedTopUp(each.id, each.window, each.resource, each.amount))


def exhaust(step: Step, session: Account, refused: Refused) -> Refused:
    """The answer to a session where `refused` stands in its way: parked or terminated, if that account is exhausted."""
    account = step.state.accounts[refused.account]
    policy, answer = account.policy, account.allowance.when_exhausted
    if answer is WhenExhausted.DENY or policy is None or refused.window is None or refused.resource is None:
        return refused
    smallest = policy.smallest.of(INDEX[refused.resource])
    if not is_exhausted(refused.window, refused.limit, refused.spent, refused.requested, smallest):
        return refused
    if answer is WhenExhausted.TERMINATE:
        end_sessions(step, account, SessionEnd.BUDGET_EXHAUSTED, refused.message)
        message = f"{refused.message}; it ends its sessions when it is exhausted"
        return msgspec.structs.replace(refused, reason=RefusalReason.TERMINATED, message=message)
    need = refused.requested
    step.record(changes.SessionParked(step.now_ms, session.path, account.path, refused.window, refused.resource, need))
    return msgspec.structs.replace(refused, reason=RefusalReason.PARKED, message=_parked_text(session, refused.message))


def parked(session: Account, by: Account) -> Refused:
    """The refusal of whatever a parked session asks for."""
    message = _parked_text(session, f"{by.path} is exhausted")
    return Refused(reason=RefusalReason.PARKED, account=by.path, message=message)


def _parked_text(session: Account, why: str) -> str:
    return f"{why}; {session.path} is parked and wakes when there is room, by a new window, a top-up or a higher limit"


def wake_due(step: Step, at_most: int) -> None:
    """Wakes parked sessions of the accounts that are to be looked at, each account's longest waiting first."""
    state = step.state
    for account in state.wake_timers.due(step.now_ms, at_most):
        policy = account.policy
        if policy is None or not policy.lot:
            continue
        policy.slot = 0
        state.turn(account, step.now_ms)
        path, waits_for = policy.lot.first()
        session = state.accounts[path]
        if session.session is None or not _may_wake(step, account, waits_for):
            _look_when_it_ends(step, account, policy)
        elif not _has_slot(step, session, session.session):
            policy.slot = state.wake_timers.add(account, step.now_ms + CROWDED_PAUSE_MS)
        else:
            step.record(changes.SessionWoken(step.now_ms, path))


def _may_wake(step: Step, account: Account, waits_for: Parked) -> bool:
    allowance = account.allowance
    if allowance.when_exhausted is not WhenExhausted.PARK or allowance.enforcement is Enforcement.SHADOW:
        return True
    place = (waits_for.window, waits_for.resource)
    limit = next((limit for limit in account.limits if (limit.window, limit.resource) == place), None)
    if limit is None:
        return True
    return has_room(limit.amount, standing_of(account, limit, step.now_ms).spent, waits_for.need)


def _has_slot(step: Step, account: Account, session: Session) -> bool:
    return not session.away or crowded(step.state.counted_at(account, session)) is None


def _look_when_it_ends(step: Step, account: Account, policy: Policy) -> None:
    """Has the ledger look at the parked again when the window of what the first waits for is over."""
    window, resource, _ = msgspec.structs.astuple(policy.lot.first()[1])
    resets_in_ms = standing_of(account, Limit(window, resource, 0), step.now_ms).resets_in_ms
    step.state.wake_timers.remove(account, policy.slot)
    policy.slot = 0 if resets_in_ms is None else step.state.wake_timers.add(account, step.now_ms + resets_in_ms)
