"""Asks the apiserver whether the gateway may read a route's Secret, and says so."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from ambit.api import names
from ambit.control.reconcilers.model_route.decide import credential_states, status_of
from ambit.control.world import World
from ambit.control.writer import Writer
from ambit.kube import Access, Identity, Key, KubeClient
from ambit.policy import CredentialState, SecretKey, judge_route
from ambit.policy.routes import credentials_of

ASK_AGAIN_S: Final = 5.0
"""While the right is missing: a grant is to be seen soon."""
ASK_AGAIN_GRANTED_S: Final = 300.0
"""No watch tells of a right that was withdrawn; the gateway itself is refused at once."""


class ModelRouteReconciler:
    def __init__(self, world: World, client: KubeClient, writer: Writer) -> None:
        self._world = world
        self._client = client
        self._writer = writer
        self._kind = next(kind for kind in world.kinds if kind.store is world.routes)
        self._gateway = _service_account(world.namespace, names.GATEWAY)
        self._credentials: dict[Key, frozenset[SecretKey]] = {}

    async def reconcile(self, key: Key) -> float | None:
        route = self._world.routes.items.get(key)
        credentials = credentials_of(route) if route is not None else frozenset[SecretKey]()
        self._forget(key, self._credentials.get(key, frozenset()) - credentials)
        if route is None:
            self._credentials.pop(key, None)
            return None
        self._credentials[key] = credentials
        may_read = {credential: await self._may_read(credential) for credential in sorted(credentials)}
        if self._learn(credential_states(route, may_read)):
            self._world.route_dependents(key)
        route = self._world.routes.items.get(key)
        if route is None:
            return 0.0  # deleted meanwhile
        verdict = judge_route(route, self._world.facts())
        await self._writer.status(self._kind, route, route.status, status_of(route, verdict, datetime.now(UTC)))
        if not credentials:
            return None
        return ASK_AGAIN_GRANTED_S if all(may_read.values()) else ASK_AGAIN_S

    def _learn(self, states: Mapping[SecretKey, CredentialState]) -> bool:
        """Whether any is news."""
        news = {one: state for one, state in states.items() if self._world.credentials.get(one) is not state}
        self._world.credentials.update(news)
        return bool(news)

    def _forget(self, key: Key, credentials: frozenset[SecretKey]) -> None:
        """This route needs them no more; what another needs stays."""
        needed = frozenset[SecretKey]().union(*(others for other, others in self._credentials.items() if other != key))
        for credential in credentials - needed:
            self._world.credentials.pop(credential, None)

    async def _may_read(self, credential: SecretKey) -> bool:
        access = Access("get", "", "secrets", namespace=credential.namespace, name=credential.name)
        return await self._client.subject_access_review(self._gateway, access)


def _service_account(namespace: str, name: str) -> Identity:
    """As the apiserver sees a service account."""
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    return Identity(f"system:serviceaccount:{namespace}:{name}", groups)
