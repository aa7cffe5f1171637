"""What the gateway found of the routes' Secrets, said in a condition of its own: the operator reads no Secret.

Written by server-side apply, so that the operator's conditions and this one stand side by side; nothing is written
while nothing changes, and nothing of a Secret but whether it is there.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

from ambit.api.conditions import Condition, ConditionStatus, timestamp
from ambit.api.model_route import BackendStatus, ModelRoute
from ambit.api.names import GATEWAY
from ambit.kube import ApiError, Key, KubeClient
from ambit.kube.connection import APPLY_PATCH
from ambit.kube.resources import MODEL_ROUTES
from ambit.policy import CredentialState, SecretKey
from ambit.policy.routes import credential_of

CONDITION: Final = "CredentialReadable"
FIELD_MANAGER: Final = GATEWAY
LOOK_AGAIN_S: Final = 60.0
RETRY_S: Final = 5.0
_SAID: Final = {
    CredentialState.READABLE: ConditionStatus.TRUE,
    CredentialState.SECRET_MISSING: ConditionStatus.FALSE,
    CredentialState.KEY_MISSING: ConditionStatus.FALSE,
}
"""That the gateway may not read it at all, the operator finds out by itself."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Report:
    """What the gateway writes into a route's status: one state for each backend with a Secret, and a condition that
    sums them up."""

    condition: Condition
    backends: tuple[BackendStatus, ...]


def report(route: ModelRoute, states: Mapping[SecretKey, CredentialState], now: datetime) -> Report | None:
    """What to write; None where the right thing stands, or there is nothing to say."""
    found = {
        backend.name: (credential, states[credential])
        for backend in route.spec.backends
        if (credential := credential_of(route, backend)) is not None and states.get(credential) in _SAID
    }
    if not found:
        return None
    backends = tuple(BackendStatus(name=name, credential=state.value) for name, (_, state) in found.items())
    worst = min((state for _, state in found.values()), key=lambda state: _SAID[state] is ConditionStatus.TRUE)
    missing = ", ".join(
        f"backend {name}: Secret {credential.namespace}/{credential.name}, key {credential.key}"
        for name, (credential, state) in found.items()
        if _SAID[state] is ConditionStatus.FALSE
    )
    status, reason, generation = _SAID[worst], worst.value, route.metadata.generation
    old = next((condition for condition in route.status.conditions if condition.type == CONDITION), None)
    said = old is not None and (old.status, old.reason, old.message, old.observed_generation) == (
        status,
        reason,
        missing,
        generation,
    )
    if said and route.status.backends == backends:
        return None
    unmoved = old is not None and old.status is status
    condition = Condition(
        type=CONDITION,
        status=status,
        reason=reason,
        message=missing,
        observed_generation=generation,
        last_transition_time=old.last_transition_time if old is not None and unmoved else timestamp(now),
    )
    return Report(condition, backends)


class Reports:
    """Writes them, for the routes of the moment."""

    def __init__(
        self,
        client: KubeClient,
        routes: Mapping[Key, ModelRoute],
        states: Mapping[SecretKey, CredentialState],
        changed: Callable[[float], Awaitable[None]],
    ) -> None:
        self._client = client
        self._routes = routes
        self._states = states
        self._changed = changed

    async def run(self) -> NoReturn:
        """Until cancelled."""
        while True:
            refused = False
            for route in tuple(self._routes.values()):
                found = report(route, self._states, datetime.now(UTC))
                if found is not None:
                    refused |= not await self._write(route, found)
            if refused:
                await asyncio.sleep(RETRY_S)
            else:
                await self._changed(LOOK_AGAIN_S)

    async def _write(self, route: ModelRoute, found: Report) -> bool:
        body: dict[str, Any] = {
            "apiVersion": MODEL_ROUTES.api_version,
            "kind": MODEL_ROUTES.kind,
            "metadata": {"name": route.key.name, "uid": route.metadata.uid},
            "status": {
                "conditions": [found.condition.to_dict()],
                "backends": [backend.to_dict() for backend in found.backends],
            },
        }
        path = MODEL_ROUTES.path(route.key.namespace, route.key.name, "status")
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        try:
            await self._client.request("PATCH", MODEL_ROUTES, path, body=body, content_type=APPLY_PATCH, query=query)
        except ApiError as error:
            _log.warning("ModelRoute %s: what became of its Secret was not written: %s", route.key, error.message)
            return False
        return True
