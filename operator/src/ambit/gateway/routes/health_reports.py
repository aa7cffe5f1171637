"""Which backends of a route are out, said in a condition of the ModelRoute, for those who ask why calls go elsewhere.

Every gateway finds it out by itself, and there is one condition: a gateway says that a backend is out, and takes back
only what it has said itself, or what stands for so long that whoever said it may be gone. So two that differ write
twice, and not against each other.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NoReturn

from ambit.api.conditions import Condition, ConditionStatus, timestamp
from ambit.api.model_route import ModelRoute
from ambit.api.names import GATEWAY
from ambit.gateway.attempts.backends import Out
from ambit.kube import ApiError, Key, KubeClient
from ambit.kube.connection import APPLY_PATCH
from ambit.kube.resources import MODEL_ROUTES

CONDITION: Final = "BackendsAvailable"
FIELD_MANAGER: Final = f"{GATEWAY}-backends"
"""Another than that of the report on Secrets: what one applies replaces what it applied before."""
WORTH_SAYING_S: Final = 3.0
"""A shorter rest is over before anybody has read of it."""
LOOK_EVERY_S: Final = 5.0
"""At most one write for each route in so long."""
FORGOTTEN_AFTER: Final = timedelta(minutes=5)
"""What nobody has taken back for so long was said by a gateway that is gone."""

_log = logging.getLogger(__name__)


def health(route: ModelRoute, out: Iterable[Out], said_it: bool, now: datetime) -> Condition | None:
    """The condition to write; None where the right one stands. `said_it`: what stands is this gateway's own word."""
    resting = sorted(one for one in out if one.route == route.key and one.for_s >= WORTH_SAYING_S)
    old = next((condition for condition in route.status.conditions if condition.type == CONDITION), None)
    generation = route.metadata.generation
    if resting:
        message = ", ".join(f"{one.backend} is out ({one.cause.value})" for one in resting)
        wanted = (ConditionStatus.FALSE, "BackendOut", message)
        said = old is not None and old.status is ConditionStatus.FALSE and old.observed_generation == generation
        if said and old is not None and (old.message == message or not said_it):
            return None
    else:
        wanted = (ConditionStatus.TRUE, "Available", "")
        if old is None or old.status is ConditionStatus.TRUE:
            return None
        if not said_it and now - datetime.fromisoformat(old.last_transition_time) < FORGOTTEN_AFTER:
            return None
    status, reason, message = wanted
    unmoved = old is not None and old.status is status
    return Condition(
        type=CONDITION,
        status=status,
        reason=reason,
        message=message,
        observed_generation=generation,
        last_transition_time=old.last_transition_time if old is not None and unmoved else timestamp(now),
    )


class HealthReports:
    """Writes them, for the routes of the moment."""

    def __init__(self, client: KubeClient, routes: Mapping[Key, ModelRoute], out: Callable[[], Iterable[Out]]) -> None:
        self._client = client
        self._routes = routes
        self._out = out
        self._said: set[Key] = set()

    async def run(self, look_every_s: float = LOOK_EVERY_S) -> NoReturn:
        """Until cancelled."""
        while True:
            out = tuple(self._out())
            for key, route in tuple(self._routes.items()):
                condition = health(route, out, key in self._said, datetime.now(UTC))
                if condition is not None and await self._write(route, condition):
                    self._said.discard(key)
                    if condition.status is ConditionStatus.FALSE:
                        self._said.add(key)
            self._said &= self._routes.keys()
            await asyncio.sleep(look_every_s)

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
            _log.warning("ModelRoute %s: which backends are out was not written: %s", route.key, error.message)
            return False
        return True
