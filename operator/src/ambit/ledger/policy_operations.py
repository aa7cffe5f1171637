"""What follows from what is spent: warnings, top-ups, and what becomes of the sessions of an exhausted account."""

from collections.abc import Iterable, Sequence
from functools import partial

import msgspec

from ambit.ledger import changes
from ambit.ledger.accounts import Account
from ambit.ledger.admission import crowded, standing_of
from ambit.ledger.amounts import INDEX, Limit
from ambit.ledger.audit import AuditedTopUp
from ambit.ledger.ending import end_sessions
from ambit.ledger.exhaustion import Bound, Standing, is_exhausted, newly_reached, unapplied
from ambit.ledger.policy import Policy
from ambit.ledger.step import Step
from ambit.ledger.wire import RefusalReason, Refused, TopUp, Warned, WhenExhausted
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
    """Wakes parked sessions of the accounts that are to be looked at, of each account one at a time: the
    longest waiting of those for which there is room and a slot."""
    state = step.state
    for account in state.wake_timers.due(step.now_ms, at_most):
        policy = account.policy
        if policy is None or not policy.lot:
            continue
        policy.slot = 0
        state.turn(account, step.now_ms)
        standing = partial(_standing, step, account)
        with_room = map(state.accounts.__getitem__, policy.lot.with_room(standing))
        full: set[tuple[Account | None, Account | None]] = set()
        woken = next((each for each in with_room if _has_slot(step, each, full)), None)
        if woken is not None:
            step.record(changes.SessionWoken(step.now_ms, woken.path))
        elif full:
            policy.slot = state.wake_timers.add(account, step.now_ms + CROWDED_PAUSE_MS)
        else:
            _look_when_one_ends(step, account, policy)


def _standing(step: Step, account: Account, bound: Bound) -> Standing:
    """How a bound of the account stands that sessions are parked for."""
    allowance = account.allowance
    limit = next((limit for limit in account.limits if (limit.window, limit.resource) == bound), None)
    parks = allowance.when_exhausted is WhenExhausted.PARK and not account.in_shadow
    if limit is None or not parks:
        return Standing(None, 0)
    return Standing(limit.amount, standing_of(account, limit, step.now_ms).spent)


def _has_slot(step: Step, account: Account, full: set[tuple[Account | None, Account | None]]) -> bool:
    """Whether a parked session has a slot to wake to. `full`: what bounds those that were found to have none."""
    session = account.session
    if session is None or not session.away:
        return True
    bounded_by = (account.parent, session.agent)
    if bounded_by not in full and crowded(step.state.counted_at(account, session), []) is not None:
        full.add(bounded_by)
    return bounded_by not in full


def _look_when_one_ends(step: Step, account: Account, policy: Policy) -> None:
    """Has the ledger look at the parked again when the first window is over that somebody waits for."""
    standings = (standing_of(account, Limit(*bound, 0), step.now_ms) for bound in policy.lot.bounds())
    ends_in_ms = [each.resets_in_ms for each in standings if each.resets_in_ms is not None]
    step.state.wake_timers.remove(account, policy.slot)
    policy.slot = step.state.wake_timers.add(account, step.now_ms + min(ends_in_ms)) if ends_in_ms else 0
