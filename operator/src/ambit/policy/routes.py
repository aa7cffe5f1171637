"""Whether a ModelRoute can be called, and what a session that names it calls."""

from collections.abc import Iterable
from dataclasses import replace

from ambit.api.base import ObjectKey
from ambit.api.common import ModelBinding
from ambit.api.conditions import ConditionType
from ambit.api.model_route import Backend, ModelRoute
from ambit.api.quantities import parse_count, parse_duration_ms
from ambit.policy.facts import CredentialState, Facts, SecretKey
from ambit.policy.price import Price
from ambit.policy.references import allows
from ambit.policy.verdict import Denied, Problem, RouteBinding, RouteUsable, RouteVerdict, UsableModel, unresolved
from ambit.telemetry.reasons import Denial

CREDENTIAL_READER_ROLE = "ambit-credential-reader"


def credential_of(route: ModelRoute, backend: Backend) -> SecretKey | None:
    """The Secret that the gateway needs for one backend of the route."""
    ref = backend.credential_ref
    return None if ref is None else SecretKey(route.key.namespace, ref.name, ref.key)


def credentials_of(route: ModelRoute) -> frozenset[SecretKey]:
    """The Secrets that the gateway needs for the route."""
    found = (credential_of(route, backend) for backend in route.spec.backends)
    return frozenset(credential for credential in found if credential is not None)


def judge_route(route: ModelRoute, facts: Facts) -> RouteVerdict:
    """Usable, if one of its backends is; or why not: the states of their credentials."""
    found = [_backend_problem(route, backend, facts) for backend in route.spec.backends]
    problems = tuple(problem for problem in found if problem is not None)
    return Denied(problems) if len(problems) == len(found) else RouteUsable(problems)


def _backend_problem(route: ModelRoute, backend: Backend, facts: Facts) -> Problem | None:
    credential = credential_of(route, backend)
    problem = None if credential is None else _credential_problem(credential, facts)
    if problem is None or len(route.spec.backends) == 1:
        return problem
    return replace(problem, message=f"backend {backend.name}: {problem.message}")


def bind_models(
    models: Iterable[ModelBinding], namespace: str, facts: Facts
) -> tuple[dict[str, UsableModel], dict[str, Problem]]:
    """The models that something in `namespace` names: those that can be called, and what is wrong with the others."""
    usable: dict[str, UsableModel] = {}
    unusable: dict[str, Problem] = {}
    for model in models:
        bound = _bind(model, namespace, facts)
        if isinstance(bound, Problem):
            unusable[model.name] = bound
        else:
            usable[model.name] = bound
    return usable, unusable


def _bind(model: ModelBinding, namespace: str, facts: Facts) -> UsableModel | Problem:
    key = model.route_ref.key(namespace)
    route = facts.routes.get(key)
    if route is None:
        return unresolved(
            Denial.ROUTE_NOT_FOUND,
            f"model {model.name}: there is no ModelRoute {key}: create it, or correct spec.models",
        )
    if not allows(route.spec.allowed_namespaces, key.namespace, namespace, facts.namespaces):
        return unresolved(
            Denial.ROUTE_FORBIDDEN,
            f"model {model.name}: ModelRoute {key} does not allow namespace {namespace}: set its"
            " spec.allowedNamespaces",
        )
    verdict = judge_route(route, facts)
    if isinstance(verdict, Denied):
        problem = verdict.problems[0]
        return unresolved(problem.reason, f"model {model.name}: ModelRoute {key}: {problem.message}")
    return _binding(model.name, key, route, facts)


def _binding(name: str, key: ObjectKey, route: ModelRoute, facts: Facts) -> UsableModel:
    return UsableModel(
        name=name,
        route=key,
        provider=route.spec.backends[0].provider,
        backends=tuple(
            _backend_binding(name, route, backend)
            for backend in route.spec.backends
            if _backend_problem(route, backend, facts) is None
        ),
        fall_back_when=frozenset(route.spec.fallback.when),
        max_attempts=route.spec.fallback.max_attempts,
    )


def _backend_binding(name: str, route: ModelRoute, backend: Backend) -> RouteBinding:
    timeout = backend.first_byte_timeout
    return RouteBinding(
        name=name,
        route=route.key,
        backend=backend.name,
        provider=backend.provider,
        url=backend.url,
        model=backend.model,
        credential=credential_of(route, backend),
        price=Price.of(backend.price),
        context_tokens=parse_count(backend.limits.context_tokens),
        max_output_tokens=parse_count(backend.limits.max_output_tokens),
        prompt_overhead_tokens=parse_count(backend.limits.prompt_overhead_tokens),
        priority=backend.priority,
        weight=backend.weight,
        max_concurrent=backend.max_concurrent,
        first_byte_ms=None if timeout is None else parse_duration_ms(timeout),
        on_disconnect=backend.on_disconnect,
        reasoning=backend.reasoning,
    )


def _credential_problem(credential: SecretKey, facts: Facts) -> Problem | None:
    secret = f"Secret {credential.namespace}/{credential.name}"
    match facts.credentials.get(credential):
        case CredentialState.GRANTED | CredentialState.READABLE:
            return None
        case None:
            return _not_ready(
                Denial.CREDENTIAL_UNKNOWN, f"whether the gateway may read {secret} has not been found out yet"
            )
        case CredentialState.FORBIDDEN:
            return _not_ready(
                Denial.CREDENTIAL_FORBIDDEN,
                f"the gateway may not read {secret}; if it shall read the Secrets of this namespace, run:"
                f" {grant_command(credential.namespace, facts)}",
            )
        case CredentialState.SECRET_MISSING:
            return _not_ready(
                Denial.SECRET_MISSING,
                f"there is no {secret}: create it with kubectl -n {credential.namespace} create secret generic"
                f" {credential.name} --from-file={credential.key}=FILE",
            )
        case CredentialState.KEY_MISSING:
            return _not_ready(
                Denial.KEY_MISSING,
                f"{secret} has no value under the key {credential.key!r}: add it, or correct credentialRef.key",
            )


def grant_command(namespace: str, facts: Facts) -> str:
    """The command with which a namespace lets the gateway read its Secrets."""
    account = facts.gateway
    return (
        f"kubectl -n {namespace} create rolebinding {CREDENTIAL_READER_ROLE} --clusterrole={CREDENTIAL_READER_ROLE}"
        f" --serviceaccount={account.namespace}:{account.service_account}"
    )


def _not_ready(reason: Denial, message: str) -> Problem:
    return Problem(reason, message, ConditionType.READY)
