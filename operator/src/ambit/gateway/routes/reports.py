"""What the gateway found of the routes' Secrets, said in a condition of its own: the operator reads no Secret.

Written by server-side apply, so that the operator's conditions and this one stand side by side; nothing is written
while nothing changes, and nothing of a Secret but whether it is there.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

from ambit.api.conditions import Condition, ConditionStatus, timestamp
from ambit.api.model_route import ModelRoute
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


def report(route: ModelRoute, states: Mapping[SecretKey, CredentialState], now: datetime) -> Condition | None:
    """The condition to write; None where the right one stands, or there is nothing to say."""
    credential = credential_of(route)
    state = states.get(credential) if credential is not None else None
    if state not in _SAID:
        return None
    status, reason, generation = _SAID[state], state.value, route.metadata.generation
    old = next((condition for condition in route.status.conditions if condition.type == CONDITION), None)
    if old is not None and (old.status, old.reason, old.observed_generation) == (status, reason, generation):
        return None
    unmoved = old is not None and old.status is status
    return Condition(
        type=CONDITION,
        status=status,
        reason=reason,
        observed_generation=generation,
        last_transition_time=old.last_transition_time if old is not None and unmoved else timestamp(now),
    )


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
                condition = report(route, self._states, datetime.now(UTC))
                if condition is not None:
                    refused |= not await self._write(route, condition)
            if refused:
                await asyncio.sleep(RETRY_S)
            else:
                await self._changed(LOOK_AGAIN_S)

    async def _write(self, route: ModelRoute, condition: Condition) -> bool:
        body: dict[str, Any] = {
            "apiVersion": MODEL_ROUTES.api_version,
            "kind": MODEL_ROUTES.kind,
            "metadata": {"name": route.key.name, "uid": route.metadata.uid},
            "status": {"conditions": [condition.to_dict()]},
        }
        path = MODEL_ROUTES.path(route.key.namespace, route.key.name, "status")
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        try:
            await self._client.request("PATCH", MODEL_ROUTES, path, body=body, content_type=APPLY_PATCH, query=query)
        except ApiError as error:
            _log.warning("ModelRoute %s: what became of its Secret was not written: %s", route.key, error.message)
            return False
        return True
