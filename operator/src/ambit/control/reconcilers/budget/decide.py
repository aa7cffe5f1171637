"""A Budget's status from what policy judged, what the ledger holds, and what is used. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from ambit.api.budget import Budget, BudgetStatus
from ambit.api.conditions import Condition, ConditionStatus, ConditionType, find, with_condition
from ambit.control.accounts import SeenUsage
from ambit.control.enforcement import Enforcement
from ambit.control.events import Telling
from ambit.control.reconcilers.budget.exhaustion import SHADOW, Shortfall, shortfalls, tellings
from ambit.control.reconcilers.budget.usage import tightest_of, windows_of
from ambit.ledger import wire
from ambit.policy import BudgetVerdict, Denied
from ambit.telemetry.reasons import Progress

TRUE, FALSE = ConditionStatus.TRUE, ConditionStatus.FALSE


@dataclass(frozen=True)
class Snapshot:
    """Everything that a Budget's status is made from."""

    budget: Budget
    verdict: BudgetVerdict
    enforcement: Enforcement
    usage: SeenUsage | None
    """None: not known yet; the status keeps what it said."""


Said = tuple[ConditionType, ConditionStatus, str, str]


class Decision(NamedTuple):
    """What is to be said of a Budget."""

    status: BudgetStatus
    tellings: tuple[Telling, ...]


def decide(s: Snapshot, now: datetime) -> Decision:
    """The status, written `now`, and the Events."""
    before = s.budget.status
    usage = None if s.usage is None else s.usage.usage
    limits = before.limits if s.usage is None else windows_of(s.usage, s.budget.spec.time_zone)
    found = () if usage is None else shortfalls(usage, limits)
    accepted, enforced, within = _accepted(s.verdict), _enforced(s), _within(usage, found)
    conditions = before.conditions
    ready = _ready(accepted, enforced, within or _said_before(conditions))
    for kind, status, reason, message in (accepted, enforced, *within, ready):
        conditions = with_condition(
            conditions, kind, status, reason, message, generation=s.budget.metadata.generation, now=now
        )
    after = before.model_copy(
        update={
            "observed_generation": s.budget.metadata.generation,
            "conditions": conditions,
            "limits": limits,
            "tightest": before.tightest if usage is None else tightest_of(usage.limits),
        }
    )
    shadow = usage is not None and usage.enforcement is wire.Enforcement.SHADOW
    return Decision(after, tuple(tellings(before, after, found, shadow=shadow)))


def _accepted(verdict: BudgetVerdict) -> Said:
    if isinstance(verdict, Denied):
        problem = verdict.problems[0]
        return ConditionType.ACCEPTED, FALSE, problem.reason.value, problem.message
    return ConditionType.ACCEPTED, TRUE, Progress.ACCEPTED.value, ""


def _enforced(s: Snapshot) -> Said:
    status = TRUE if s.enforcement.holds else FALSE
    return ConditionType.ENFORCED, status, s.enforcement.reason.value, s.enforcement.message


def _within(usage: wire.Usage | None, found: Sequence[Shortfall]) -> tuple[Said, ...]:
    """Not so, where a limit refuses until its window ends: nothing is left, or too little for what was asked."""
    if usage is None:
        return ()
    if not found:
        return ((ConditionType.WITHIN_BUDGET, TRUE, Progress.WITHIN_BUDGET.value, ""),)
    said = [each.message for each in found]
    if usage.enforcement is wire.Enforcement.SHADOW:
        said.append(SHADOW)
    return ((ConditionType.WITHIN_BUDGET, FALSE, found[0].reason.value, "; ".join(said)),)


def _said_before(conditions: Iterable[Condition]) -> tuple[Said, ...]:
    """`WithinBudget` as it stands, where nothing newer is known."""
    said = find(conditions, ConditionType.WITHIN_BUDGET)
    return () if said is None else ((ConditionType.WITHIN_BUDGET, said.status, said.reason, said.message),)


def _ready(accepted: Said, enforced: Said, within: tuple[Said, ...]) -> Said:
    """In force, and, for the Reason that `kubectl get` shows, whether anything is left."""
    for said in (accepted, enforced):
        if said[1] is FALSE:
            return ConditionType.READY, FALSE, said[2], said[3]
    for said in within:
        if said[1] is FALSE:
            return ConditionType.READY, TRUE, said[2], said[3]
    return ConditionType.READY, TRUE, Progress.READY.value, ""
