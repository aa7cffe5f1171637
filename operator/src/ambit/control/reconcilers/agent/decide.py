"""An Agent's status: an ordered chain of causes, each condition by its own. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from ambit.api.agent import Agent, AgentStatus, SessionCounts
from ambit.api.budget import Budget
from ambit.api.budget import Enforcement as Enforcing
from ambit.api.conditions import Condition, ConditionStatus, ConditionType, find, with_condition
from ambit.api.sandbox import Sandbox
from ambit.api.sandbox_pool import SandboxPool
from ambit.control.enforcement import Enforcement
from ambit.policy import Denied, Problem, Verdict
from ambit.telemetry.reasons import Progress, SessionEnd

TRUE, FALSE = ConditionStatus.TRUE, ConditionStatus.FALSE
Said = tuple[ConditionType, ConditionStatus, str, str]

MIRRORED = frozenset(
    {
        Progress.IMAGE_PULL_FAILED.value,
        Progress.CONTAINER_FAILED.value,
        Progress.REFUSED.value,
        SessionEnd.START_FAILED.value,
    }
)
"""What keeps a session's environment from starting, and would keep the next one's."""


@dataclass(frozen=True)
class Snapshot:
    """Everything that an Agent's status is made from."""

    agent: Agent
    verdict: Verdict
    enforcement: Enforcement
    budgets: tuple[Budget, ...]
    """The Budget that it spends from and all above it; empty where there is none."""
    pool: SandboxPool | None
    """Of an isolate Agent."""
    newest: Sandbox | None
    """The Agent's newest Sandbox."""
    active: int | None
    """How many of its sessions are open; None: not counted yet."""


def status_of(s: Snapshot, now: datetime) -> AgentStatus:
    """The status, written `now`."""
    before = s.agent.status
    problems = s.verdict.problems
    accepted = _accepted(s.verdict)
    resolved = _resolved(problems)
    within = _within(s.budgets)
    conditions = before.conditions
    for kind, status, reason, message in (accepted, resolved, within, _ready(s, accepted, resolved, within)):
        conditions = with_condition(
            conditions, kind, status, reason, message, generation=s.agent.metadata.generation, now=now
        )
    return before.model_copy(
        update={
            "observed_generation": s.agent.metadata.generation,
            "conditions": conditions,
            "sessions": before.sessions if s.active is None else SessionCounts(active=s.active),
        }
    )


def _accepted(verdict: Verdict) -> Said:
    if isinstance(verdict, Denied):
        own = [problem for problem in verdict.problems if problem.condition is ConditionType.ACCEPTED]
        problem = (own or verdict.problems)[0]
        return ConditionType.ACCEPTED, FALSE, problem.reason.value, problem.message
    return ConditionType.ACCEPTED, TRUE, Progress.ACCEPTED.value, ""


def _resolved(problems: Iterable[Problem]) -> Said:
    unresolved = [problem for problem in problems if problem.condition is ConditionType.RESOLVED_REFS]
    if not unresolved:
        return ConditionType.RESOLVED_REFS, TRUE, Progress.RESOLVED.value, ""
    message = "; ".join(problem.message for problem in unresolved)
    return ConditionType.RESOLVED_REFS, FALSE, unresolved[0].reason.value, message


def _within(budgets: Iterable[Budget]) -> Said:
    """As the nearest Budget above that has nothing left, or else too little. One in Shadow refuses nothing."""
    too_little: Said | None = None
    for budget in budgets:
        if budget.spec.enforcement is Enforcing.SHADOW:
            continue
        said = find(budget.status.conditions, ConditionType.WITHIN_BUDGET)
        if said is None or said.status is not FALSE:
            continue
        if said.reason != Progress.TOO_LITTLE_LEFT.value:
            return ConditionType.WITHIN_BUDGET, FALSE, said.reason, f"Budget {budget.key}: {said.message}"
        # Without its figures, which change with every call that still has room.
        message = f"Budget {budget.key} has less left than what it refused needed; its WithinBudget says how much"
        too_little = too_little or (ConditionType.WITHIN_BUDGET, FALSE, said.reason, message)
    return too_little or (ConditionType.WITHIN_BUDGET, TRUE, Progress.WITHIN_BUDGET.value, "")


def _ready(s: Snapshot, accepted: Said, resolved: Said, within: Said) -> Said:
    """Whether a session that is opened now would run; the first cause against it."""
    for said in (accepted, resolved):
        if said[1] is FALSE:
            return ConditionType.READY, FALSE, said[2], said[3]
    if not s.enforcement.holds:
        return ConditionType.READY, FALSE, s.enforcement.reason.value, s.enforcement.message
    too_little = within[2] == Progress.TOO_LITTLE_LEFT.value
    if within[1] is FALSE and not too_little:
        return ConditionType.READY, FALSE, within[2], within[3]
    for said in (_pool_said(s.pool), _newest_said(s)):
        if said is not None:
            return ConditionType.READY, FALSE, said.reason, said.message
    if too_little:
        # It would run, and what is small enough has room.
        return ConditionType.READY, TRUE, within[2], within[3]
    return ConditionType.READY, TRUE, Progress.READY.value, ""


@dataclass(frozen=True)
class _Cause:
    reason: str
    message: str


def _pool_said(pool: SandboxPool | None) -> _Cause | None:
    if pool is None or (pool.status.hosts is not None and pool.status.hosts.ready > 0):
        return None
    said: Condition | None = find(pool.status.conditions, ConditionType.READY)
    message = f": {said.message}" if said is not None and said.message else ""
    return _Cause(Progress.HOSTS_NOT_READY.value, f"no host of SandboxPool {pool.key} is ready{message}")


def _newest_said(s: Snapshot) -> _Cause | None:
    """What kept the newest session from starting, while it concerns the image that the Agent still names."""
    container = s.agent.spec.environment.container
    if s.newest is None or container is None:
        return None
    said = find(s.newest.status.conditions, ConditionType.READY)
    if said is None or said.status is TRUE or said.reason not in MIRRORED:
        return None
    if said.reason != Progress.REFUSED.value and container.image not in said.message:
        return None
    return _Cause(said.reason, f"Sandbox {s.newest.key.name}: {said.message}")
