"""What an Agent or a Sandbox may do, or why not: pure functions over objects that somebody else has read.

The operator writes the verdict to status, the gateway enforces the same verdict: one rule, two readers.
"""

from ambit.policy.bounds import SessionBounds
from ambit.policy.budgets import judge_budget
from ambit.policy.facts import CredentialState, Facts, GatewayAccount, SecretKey
from ambit.policy.routes import judge_route
from ambit.policy.sessions import judge_agent, judge_sandbox
from ambit.policy.verdict import (
    Account,
    AccountLimit,
    AccountTopUp,
    Allowed,
    BudgetAccepted,
    BudgetVerdict,
    Denied,
    IsolateBinding,
    Problem,
    RouteBinding,
    RouteUsable,
    RouteVerdict,
    SessionPolicy,
    UsableModel,
    Verdict,
)

__all__ = [
    "Account",
    "AccountLimit",
    "AccountTopUp",
    "Allowed",
    "BudgetAccepted",
    "BudgetVerdict",
    "CredentialState",
    "Denied",
    "Facts",
    "GatewayAccount",
    "IsolateBinding",
    "Problem",
    "RouteBinding",
    "RouteUsable",
    "RouteVerdict",
    "SecretKey",
    "SessionBounds",
    "SessionPolicy",
    "UsableModel",
    "Verdict",
    "judge_agent",
    "judge_budget",
    "judge_route",
    "judge_sandbox",
]
