"""What a session of an Agent, or a Sandbox of its own, may do."""

from ambit.api.agent import Agent
from ambit.api.base import ObjectKey
from ambit.api.common import BoundsOverride
from ambit.api.environment import ContainerEnvironment, IsolateEnvironment
from ambit.api.names import agent_path, budget_path
from ambit.api.sandbox import Sandbox, SandboxEnvironment
from ambit.policy.bounds import DEFAULT_BOUNDS, BoundAbove, SessionBounds, override, tighten
from ambit.policy.budgets import account_limits, find_budget
from ambit.policy.facts import Facts
from ambit.policy.routes import bind_models
from ambit.policy.verdict import Account, Allowed, Denied, IsolateBinding, Problem, SessionPolicy, Verdict, unresolved
from ambit.telemetry.reasons import Denial

MAX_CODE_BYTES = 900 * 1024
"""Of all modules together; a ConfigMap takes 1 MiB in all."""


def judge_agent(agent: Agent, facts: Facts, asked: BoundsOverride | None = None) -> Verdict:
    """What a session of the Agent may do, with the bounds that are `asked` for if they are tighter; or why not."""
    namespace = agent.key.namespace
    budget = find_budget(agent.spec.budget_ref, namespace, facts)
    environment = _environment(agent, facts)
    bounds = _session_bounds(agent, asked)
    problems = [found for found in (budget, environment, bounds) if isinstance(found, Problem)]
    models, unusable = bind_models(agent.spec.models, namespace, facts)
    if isinstance(budget, Problem) or isinstance(environment, Problem) or isinstance(bounds, Problem):
        return Denied((*problems, *unusable.values()))
    path = agent_path(*agent.key)
    return Allowed(
        SessionPolicy(
            account_parent=path,
            budget=budget.key,
            environment=environment,
            models=models,
            unusable=unusable,
            bounds=bounds,
        ),
        account=agent_account(agent, budget.key),
    )


def agent_account(agent: Agent, budget: ObjectKey) -> Account:
    """The Agent's account, which bounds all its sessions together and each of its users."""
    return Account(
        path=agent_path(*agent.key),
        parent=budget_path(*budget),
        concurrent_sessions=agent.spec.concurrent_sessions,
        user_limits=None if agent.spec.per_user is None else account_limits(agent.spec.per_user.limits),
    )


def judge_sandbox(sandbox: Sandbox, facts: Facts) -> Verdict:
    """What the Sandbox may do, as a session of its Agent or by itself; or why not."""
    spec = sandbox.spec
    if spec.agent_ref is not None:
        return _judge_agents_sandbox(sandbox, ObjectKey(sandbox.key.namespace, spec.agent_ref.name), facts)
    if spec.environment is None:
        raise ValueError(f"Sandbox {sandbox.key} has neither agentRef nor environment; the apiserver refuses such")
    return _judge_own_sandbox(sandbox, spec.environment, facts)


def _judge_agents_sandbox(sandbox: Sandbox, key: ObjectKey, facts: Facts) -> Verdict:
    agent = facts.agents.get(key)
    if agent is None:
        return Denied((Problem(Denial.AGENT_NOT_FOUND, f"there is no Agent {key}: create it, or correct agentRef"),))
    if agent.spec.environment.container is None:
        return Denied(
            (
                Problem(
                    Denial.AGENT_IS_ISOLATE,
                    f"Agent {key} runs in an isolate, which needs no Sandbox: open a session with ambit run {key}",
                ),
            )
        )
    nobody = user_problem(agent, sandbox.spec.user or "", "set spec.user")
    return judge_agent(agent, facts, sandbox.spec.bounds) if nobody is None else Denied((nobody,))


def user_problem(agent: Agent, user: str, cure: str) -> Problem | None:
    """Why the Agent has no session for `user`, where it bounds each of its users and this is none."""
    if agent.spec.per_user is None or user:
        return None
    return Problem(Denial.USER_MISSING, f"Agent {agent.key} has limits for each user (perUser): {cure}")


def _judge_own_sandbox(sandbox: Sandbox, environment: SandboxEnvironment, facts: Facts) -> Verdict:
    namespace = sandbox.key.namespace
    budget = find_budget(sandbox.spec.budget_ref, namespace, facts)
    models, unusable = bind_models(sandbox.spec.models, namespace, facts)
    if isinstance(budget, Problem):
        return Denied((budget, *unusable.values()))
    return Allowed(
        SessionPolicy(
            account_parent=budget_path(*budget.key),
            budget=budget.key,
            environment=environment.container,
            models=models,
            unusable=unusable,
            bounds=override(DEFAULT_BOUNDS, sandbox.spec.bounds),
        ),
        account=None,
    )


def _session_bounds(agent: Agent, asked: BoundsOverride | None) -> SessionBounds | Problem:
    bounds = tighten(SessionBounds.of(agent.spec.bounds), asked)
    if isinstance(bounds, BoundAbove):
        return Problem(Denial.BOUND_ABOVE_AGENT, bounds.message)
    return bounds


def _environment(agent: Agent, facts: Facts) -> IsolateBinding | ContainerEnvironment | Problem:
    environment = agent.spec.environment
    if environment.container is not None:
        return environment.container
    if environment.isolate is None:
        raise ValueError(f"Agent {agent.key} has no environment; the apiserver refuses such")
    return _isolate(environment.isolate, agent.key.namespace, facts)


def _isolate(isolate: IsolateEnvironment, namespace: str, facts: Facts) -> IsolateBinding | Problem:
    pool = ObjectKey(namespace, isolate.pool_ref.name)
    if pool not in facts.pools:
        return unresolved(
            Denial.POOL_NOT_FOUND, f"there is no SandboxPool {pool}: create it, or correct environment.isolate.poolRef"
        )
    code = ObjectKey(namespace, isolate.code.config_map_ref.name)
    modules = facts.code.get(code)
    if modules is None:
        return unresolved(
            Denial.CODE_NOT_FOUND,
            f"there is no ConfigMap {code} with the code: create it, or correct environment.isolate.code.configMapRef",
        )
    if isolate.code.main not in modules:
        return unresolved(
            Denial.MAIN_MODULE_MISSING,
            f"ConfigMap {code} has no key {isolate.code.main!r} in its data: add it, or correct"
            " environment.isolate.code.main",
        )
    size = sum(modules.values())
    if size > MAX_CODE_BYTES:
        return unresolved(
            Denial.CODE_TOO_LARGE,
            f"the modules in ConfigMap {code} are {size} bytes, and at most {MAX_CODE_BYTES} can be loaded: bundle and"
            " minify the code, or move data out of it",
        )
    return IsolateBinding(pool=pool, code=code, main=isolate.code.main)
