"""Whether a Budget can be spent from: its parents are there, consent, and lead to an end."""

from ambit.api.agent import DEFAULT_BUDGET_NAME
from ambit.api.base import ObjectKey
from ambit.api.budget import Budget, BudgetLimit, ResourceName, TopUp
from ambit.api.common import ObjectRef
from ambit.api.names import budget_path
from ambit.api.quantities import parse_count, parse_duration_ms, parse_usd_nanos
from ambit.api.time_zones import is_time_zone
from ambit.policy.facts import Facts
from ambit.policy.references import allows
from ambit.policy.verdict import Account, AccountLimit, AccountTopUp, BudgetAccepted, BudgetVerdict, Denied, Problem
from ambit.telemetry.reasons import Denial

MAX_DEPTH = 8
"""Budgets above one another, the first and the last counted: each hold is checked on every one of them."""


def judge_budget(budget: Budget, facts: Facts) -> BudgetVerdict:
    """Accepted as an account, or why not: its time zone, or a Budget above that is missing, forbidden or itself."""
    problem = _time_zone_problem(budget) or _parents_problem(budget, facts)
    if problem is not None:
        return Denied((problem,))
    parent = budget.spec.parent_ref
    return BudgetAccepted(
        Account(
            path=budget_path(*budget.key),
            parent=None if parent is None else budget_path(*parent.key(budget.key.namespace)),
            limits=account_limits(budget.spec.limits),
            time_zone=budget.spec.time_zone,
            concurrent_sessions=budget.spec.concurrent_sessions,
            enforcement=budget.spec.enforcement,
            warn_at=tuple(sorted(set(budget.spec.warn_at))),
            top_ups=tuple(_top_up(each) for each in budget.spec.top_ups),
            when_exhausted=budget.spec.when_exhausted,
        )
    )


def find_budget(ref: ObjectRef | None, namespace: str, facts: Facts) -> Budget | Problem:
    """The Budget that something in `namespace` spends from: the one it names, else the namespace's `default`."""
    key = ObjectKey(namespace, DEFAULT_BUDGET_NAME) if ref is None else ref.key(namespace)
    budget = facts.budgets.get(key)
    if budget is None and ref is None:
        return Problem(
            Denial.NO_BUDGET,
            f"namespace {namespace} has no Budget named {DEFAULT_BUDGET_NAME}: create it, or name another in"
            " spec.budgetRef (nothing runs without a Budget)",
        )
    if budget is None:
        return Problem(Denial.BUDGET_NOT_FOUND, f"there is no Budget {key}: create it, or correct spec.budgetRef")
    if not allows(budget.spec.allowed_namespaces, key.namespace, namespace, facts.namespaces):
        return Problem(
            Denial.BUDGET_FORBIDDEN,
            f"Budget {key} does not allow namespace {namespace}: set its spec.allowedNamespaces, or use another Budget",
        )
    verdict = judge_budget(budget, facts)
    if isinstance(verdict, Denied):
        return Problem(Denial.BUDGET_NOT_ACCEPTED, f"Budget {key} cannot be spent from: {verdict.problems[0].message}")
    return budget


def _time_zone_problem(budget: Budget) -> Problem | None:
    zone = budget.spec.time_zone
    if is_time_zone(zone):
        return None
    return Problem(
        Denial.TIME_ZONE_UNKNOWN,
        f"spec.timeZone {zone!r} is not in the IANA time zone database: write one such as Etc/UTC or Europe/Berlin",
    )


def _parents_problem(budget: Budget, facts: Facts) -> Problem | None:
    below, seen = budget, [budget.key]
    while (ref := below.spec.parent_ref) is not None:
        key = ref.key(below.key.namespace)
        if key in seen:
            chain = " → ".join(str(link) for link in [*seen, key])
            return Problem(
                Denial.PARENT_CYCLE,
                f"the Budgets above lead back to {key} ({chain}): delete one of them and create it without parentRef",
            )
        if len(seen) == MAX_DEPTH:
            return Problem(
                Denial.PARENTS_TOO_DEEP, f"more than {MAX_DEPTH} Budgets stand above one another; take some out"
            )
        parent = facts.budgets.get(key)
        if parent is None:
            return Problem(
                Denial.PARENT_NOT_FOUND, f"there is no Budget {key}, the parent of Budget {below.key}: create it"
            )
        if not allows(parent.spec.allowed_namespaces, key.namespace, below.key.namespace, facts.namespaces):
            return Problem(
                Denial.PARENT_FORBIDDEN,
                f"Budget {key} does not allow namespace {below.key.namespace}, of Budget {below.key}: set the"
                " spec.allowedNamespaces of the parent",
            )
        if (problem := _time_zone_problem(parent)) is not None:
            return Problem(problem.reason, f"Budget {key} above: {problem.message}")
        seen.append(key)
        below = parent
    return None


def account_limits(limits: tuple[BudgetLimit, ...]) -> tuple[AccountLimit, ...]:
    """The limits as the ledger counts them, one for each window and resource."""
    return tuple(limit for window in limits for limit in _limits_of(window))


def _top_up(top_up: TopUp) -> AccountTopUp:
    parse = {ResourceName.USD: parse_usd_nanos, ResourceName.RUNTIME: parse_duration_ms}.get(
        top_up.resource, parse_count
    )
    return AccountTopUp(top_up.id, top_up.window, top_up.resource, parse(top_up.amount))


def _limits_of(limit: BudgetLimit) -> tuple[AccountLimit, ...]:
    amounts = {
        ResourceName.USD: None if limit.usd is None else parse_usd_nanos(limit.usd),
        ResourceName.TOKENS: None if limit.tokens is None else parse_count(limit.tokens),
        ResourceName.INPUT_TOKENS: None if limit.input_tokens is None else parse_count(limit.input_tokens),
        ResourceName.OUTPUT_TOKENS: None if limit.output_tokens is None else parse_count(limit.output_tokens),
        ResourceName.MODEL_CALLS: None if limit.model_calls is None else parse_count(limit.model_calls),
        ResourceName.RUNTIME: None if limit.runtime is None else parse_duration_ms(limit.runtime),
    }
    return tuple(
        AccountLimit(limit.window, resource, amount) for resource, amount in amounts.items() if amount is not None
    )
