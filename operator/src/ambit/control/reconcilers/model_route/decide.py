"""A ModelRoute's status, and what is known of its credential. Pure.

The operator reads no Secret of a namespace. Whether the gateway may is asked of the apiserver; whether the key is there
is said by the gateway, in a condition of its own.
"""

from datetime import datetime
from typing import Final

from ambit.api.conditions import ConditionStatus, ConditionType, with_condition
from ambit.api.model_route import ModelRoute, ModelRouteStatus
from ambit.policy import CredentialState, Denied, RouteVerdict
from ambit.telemetry.reasons import Denial, Progress

TRUE, FALSE = ConditionStatus.TRUE, ConditionStatus.FALSE
GATEWAY_CONDITION: Final = "CredentialReadable"
"""Written by the gateway (server-side apply): True, or False with reason SecretMissing or KeyMissing."""

_BY_REASON: Final = {
    Denial.SECRET_MISSING.value: CredentialState.SECRET_MISSING,
    Denial.KEY_MISSING.value: CredentialState.KEY_MISSING,
}


def credential_state(route: ModelRoute, *, may_read: bool) -> CredentialState:
    """What is known: the apiserver's word on the right, then the gateway's on what it found."""
    if not may_read:
        return CredentialState.FORBIDDEN
    said = next((c for c in route.status.conditions if c.type == GATEWAY_CONDITION), None)
    if said is None or said.observed_generation != route.metadata.generation or said.status is TRUE:
        return CredentialState.GRANTED
    return _BY_REASON.get(said.reason, CredentialState.GRANTED)


def status_of(route: ModelRoute, verdict: RouteVerdict, now: datetime) -> ModelRouteStatus:
    """The status, written `now`; the gateway's condition stays as it is."""
    generation = route.metadata.generation
    resolved, ready = (TRUE, Progress.RESOLVED.value, ""), (TRUE, Progress.READY.value, "")
    if isinstance(verdict, Denied):
        problem = verdict.problems[0]
        resolved = ready = (FALSE, problem.reason.value, problem.message)
    conditions = route.status.conditions
    for kind, (status, reason, message) in (
        (ConditionType.ACCEPTED, (TRUE, Progress.ACCEPTED.value, "")),
        (ConditionType.RESOLVED_REFS, resolved),
        (ConditionType.READY, ready),
    ):
        conditions = with_condition(conditions, kind, status, reason, message, generation=generation, now=now)
    return route.status.model_copy(update={"observed_generation": generation, "conditions": conditions})
