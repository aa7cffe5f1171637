"""A ModelRoute's status, and what is known of its credential. Pure.

The operator reads no Secret of a namespace. Whether the gateway may is asked of the apiserver; whether the key is there
is said by the gateway, in a condition of its own.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from ambit.api.conditions import ConditionStatus, ConditionType, with_condition
from ambit.api.model_route import ModelRoute, ModelRouteStatus
from ambit.policy import CredentialState, Denied, Problem, RouteVerdict, SecretKey
from ambit.policy.routes import credential_of
from ambit.telemetry.reasons import Denial, Progress

TRUE, FALSE = ConditionStatus.TRUE, ConditionStatus.FALSE
GATEWAY_CONDITION: Final = "CredentialReadable"
"""Written by the gateway (server-side apply): True, or False with reason SecretMissing or KeyMissing."""

_BY_REASON: Final = {
    Denial.SECRET_MISSING.value: CredentialState.SECRET_MISSING,
    Denial.KEY_MISSING.value: CredentialState.KEY_MISSING,
}


def credential_states(route: ModelRoute, may_read: Mapping[SecretKey, bool]) -> dict[SecretKey, CredentialState]:
    """What is known of each Secret: the apiserver's word on the right, then the gateway's on what it found."""
    said = next((c for c in route.status.conditions if c.type == GATEWAY_CONDITION), None)
    if said is not None and said.observed_generation != route.metadata.generation:
        said = None
    found = {backend.name: backend.credential for backend in route.status.backends}
    states: dict[SecretKey, CredentialState] = {}
    for backend in route.spec.backends:
        credential = credential_of(route, backend)
        if credential is None:
            continue
        # A gateway of the release before says it of its one backend by the condition alone.
        reason = found.get(backend.name, said.reason) if said is not None else ""
        granted = _BY_REASON.get(reason, CredentialState.GRANTED)
        states[credential] = granted if may_read[credential] else CredentialState.FORBIDDEN
    return states


def status_of(route: ModelRoute, verdict: RouteVerdict, now: datetime) -> ModelRouteStatus:
    """The status, written `now`; the gateway's condition stays as it is."""
    generation = route.metadata.generation
    resolved, ready = (TRUE, Progress.RESOLVED.value, ""), (TRUE, Progress.READY.value, "")
    if isinstance(verdict, Denied):
        resolved = ready = _because(verdict.problems)
    elif verdict.unusable:  # the others take the calls
        resolved = _because(verdict.unusable)
    conditions = route.status.conditions
    for kind, (status, reason, message) in (
        (ConditionType.ACCEPTED, (TRUE, Progress.ACCEPTED.value, "")),
        (ConditionType.RESOLVED_REFS, resolved),
        (ConditionType.READY, ready),
    ):
        conditions = with_condition(conditions, kind, status, reason, message, generation=generation, now=now)
    return route.status.model_copy(update={"observed_generation": generation, "conditions": conditions})


def _because(problems: tuple[Problem, ...]) -> tuple[ConditionStatus, str, str]:
    return FALSE, problems[0].reason.value, "; ".join(problem.message for problem in problems)
