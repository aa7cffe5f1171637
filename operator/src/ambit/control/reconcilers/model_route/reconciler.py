"""Asks the apiserver whether the gateway may read a route's Secret, and says so."""

from datetime import UTC, datetime
from typing import Final

from ambit.api import names
from ambit.control.reconcilers.model_route.decide import credential_state, status_of
from ambit.control.world import World
from ambit.control.writer import Writer
from ambit.kube import Access, Identity, Key, KubeClient
from ambit.policy import CredentialState, SecretKey, judge_route
from ambit.policy.routes import credential_of

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
        self._credentials: dict[Key, SecretKey] = {}

    async def reconcile(self, key: Key) -> float | None:
        route = self._world.routes.items.get(key)
        credential = credential_of(route) if route is not None else None
        if self._credentials.get(key) != credential:
            self._forget(key)
        if route is None:
            return None
        if credential is not None:
            self._credentials[key] = credential
            state = credential_state(route, may_read=await self._may_read(credential))
            if self._world.credentials.get(credential) is not state:
                self._world.credentials[credential] = state
                self._world.route_dependents(key)
        route = self._world.routes.items.get(key)
        if route is None:
            return 0.0  # deleted meanwhile
        verdict = judge_route(route, self._world.facts())
        await self._writer.status(self._kind, route, route.status, status_of(route, verdict, datetime.now(UTC)))
        if credential is None:
            return None
        forbidden = self._world.credentials.get(credential) is CredentialState.FORBIDDEN
        return ASK_AGAIN_S if forbidden else ASK_AGAIN_GRANTED_S

    def _forget(self, key: Key) -> None:
        credential = self._credentials.pop(key, None)
        if credential is not None and credential not in self._credentials.values():
            self._world.credentials.pop(credential, None)

    async def _may_read(self, credential: SecretKey) -> bool:
        access = Access("get", "", "secrets", namespace=credential.namespace, name=credential.name)
        return await self._client.subject_access_review(self._gateway, access)


def _service_account(namespace: str, name: str) -> Identity:
    """As the apiserver sees a service account."""
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    return Identity(f"system:serviceaccount:{namespace}:{name}", groups)
