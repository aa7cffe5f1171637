"""The operator's picture of the cluster: caches of what is there, and who has to look when something changes.

Our five kinds come through kopf (`shell`), the rest through list-and-watch caches of our own, because kopf costs 1.5 ms
a Pod. Nothing here decides; reconcilers read `facts` and the caches, synchronously, so what they see is of one moment.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from ambit.api import names
from ambit.api.agent import Agent
from ambit.api.base import ObjectKey
from ambit.api.budget import Budget
from ambit.api.model_route import ModelRoute
from ambit.api.sandbox import Sandbox
from ambit.api.sandbox_pool import SandboxPool
from ambit.control.manifests import GVISOR
from ambit.control.objects import ConfigMapSizes, Named, Pod, Service, StatefulSet, decode_sizes
from ambit.control.store import Store
from ambit.kube import Change, Key, KubeClient, ListWatch, resources
from ambit.policy import CredentialState, Facts, GatewayAccount, SecretKey

BUDGET: Final = names.BUDGET_ACCOUNT
AGENT: Final = names.AGENT_ACCOUNT
"""These two are looked at by the kind of their account."""
SANDBOX: Final = "sandbox"
POOL: Final = "sandboxpool"
ROUTE: Final = "modelroute"

Enqueue = Callable[[str, Key], None]
"""Tells the controller of that name to look at that key."""


@dataclass(frozen=True)
class Kind:
    """One of our kinds: its path and its cache."""

    controller: str
    resource: resources.Resource
    store: Store[Any]


class World:
    """All caches, and the mapping from changes to the keys that they concern."""

    def __init__(self, client: KubeClient, namespace: str) -> None:
        self.namespace = namespace
        self.budgets = Store(Budget)
        self.agents = Store(Agent)
        self.sandboxes = Store(Sandbox)
        self.pools = Store(SandboxPool)
        self.routes = Store(ModelRoute)
        self.kinds = (
            Kind(BUDGET, resources.BUDGETS, self.budgets),
            Kind(AGENT, resources.AGENTS, self.agents),
            Kind(SANDBOX, resources.SANDBOXES, self.sandboxes),
            Kind(POOL, resources.SANDBOX_POOLS, self.pools),
            Kind(ROUTE, resources.MODEL_ROUTES, self.routes),
        )
        ours = f"{names.COMPONENT_LABEL} in ({names.SANDBOX_COMPONENT},{names.ISOLATE_HOST_COMPONENT})"
        self.pods = ListWatch(client, resources.PODS, _decoder(Pod), label_selector=ours)
        self.policies = ListWatch(client, resources.NETWORK_POLICIES, _decoder(Named), label_selector=ours)
        self.stateful_sets = ListWatch(client, resources.STATEFUL_SETS, _decoder(StatefulSet), label_selector=ours)
        self.namespaces = ListWatch(client, resources.NAMESPACES, _decoder(Named))
        self.runtime_classes = ListWatch(client, resources.RUNTIME_CLASSES, _decoder(Named))
        self.config_maps: ListWatch[ConfigMapSizes] = ListWatch(client, resources.CONFIG_MAPS, decode_sizes)
        self.gateway = ListWatch(
            client,
            resources.SERVICES,
            _decoder(Service),
            namespace=namespace,
            field_selector=f"metadata.name={names.GATEWAY}",
        )
        self.credentials: dict[SecretKey, CredentialState] = {}
        """What SubjectAccessReview said of the routes' Secrets; kept by the route reconciler."""
        self._labels: dict[str, Mapping[str, str]] = {}
        self._enqueue: Enqueue = lambda controller, key: None
        self._connect()

    # -- reading -----------------------------------------------------------
    @property
    def watches(self) -> tuple[ListWatch[Any], ...]:
        return (
            self.pods,
            self.policies,
            self.stateful_sets,
            self.namespaces,
            self.runtime_classes,
            self.config_maps,
            self.gateway,
        )

    def not_synced(self) -> str | None:
        """The first cache that is still empty; None once all have seen a whole list."""
        for kind in self.kinds:
            if not kind.store.synced:
                return kind.resource.plural
        return next((watch.resource.plural for watch in self.watches if not watch.synced.is_set()), None)

    async def synced(self) -> None:
        """Waits for the list-and-watch caches."""
        await asyncio.gather(*(watch.synced.wait() for watch in self.watches))

    def facts(self) -> Facts:
        """What policy judges by: views of the caches, to be read at once."""
        return Facts(
            gateway=GatewayAccount(self.namespace, names.GATEWAY),
            budgets=_by_key(self.budgets.items),
            agents=_by_key(self.agents.items),
            routes=_by_key(self.routes.items),
            pools=_by_key(self.pools.items),
            code=_by_key(self.config_maps.items),
            namespaces=self._labels,
            credentials=self.credentials,
        )

    @property
    def gateway_ip(self) -> str | None:
        """The cluster IP of the gateway's Service; None while there is none."""
        service = self.gateway.items.get((self.namespace, names.GATEWAY))
        ip = service.spec.cluster_ip if service is not None else ""
        return ip if ip and ip != "None" else None

    @property
    def has_gvisor(self) -> bool:
        return ("", GVISOR) in self.runtime_classes.items

    def namespace_names(self) -> Iterable[str]:
        return self._labels.keys()

    def sandboxes_of(self, agent: Key) -> Iterable[Sandbox]:
        namespace, name = agent
        return (
            sandbox
            for key, sandbox in self.sandboxes.items.items()
            if key[0] == namespace and sandbox.spec.agent_ref is not None and sandbox.spec.agent_ref.name == name
        )

    # -- who looks when what changes ---------------------------------------------
    def notify(self, enqueue: Enqueue) -> None:
        """From now on changes are told to `enqueue`."""
        self._enqueue = enqueue

    def pool_of(self, agent: Agent) -> SandboxPool | None:
        """The pool of an isolate Agent, if it is there."""
        isolate = agent.spec.environment.isolate
        return self.pools.items.get((agent.key.namespace, isolate.pool_ref.name)) if isolate is not None else None

    def enqueue_all(self) -> None:
        """Every object of every kind: after a start, and whenever something was missed."""
        for kind in self.kinds:
            for key in kind.store.items:
                self._enqueue(kind.controller, key)

    def _connect(self) -> None:
        self.budgets.subscribe(self._budget_changed)
        self.agents.subscribe(self._agent_changed)
        self.sandboxes.subscribe(self._sandbox_changed)
        self.pools.subscribe(self._pool_changed)
        self.routes.subscribe(self._route_changed)
        self.pods.subscribe(self._pod_changed)
        self.policies.subscribe(self._policy_changed)
        self.stateful_sets.subscribe(self._stateful_set_changed)
        self.namespaces.subscribe(self._namespace_changed)
        self.config_maps.subscribe(self._config_map_changed)
        self.runtime_classes.subscribe(lambda _: self._all(POOL))
        self.gateway.subscribe(lambda _: self._all(POOL))
        self.gateway.subscribe(lambda _: self._all(SANDBOX))

    def _all(self, controller: str) -> None:
        for kind in self.kinds:
            if kind.controller == controller:
                for key in kind.store.items:
                    self._enqueue(controller, key)

    def _budget_changed(self, change: Change[Budget]) -> None:
        self._enqueue(BUDGET, change.key)
        self.budget_dependents(change.key)

    def budget_dependents(self, key: Key) -> None:
        """Whatever spends from a Budget looks again: Budgets below it, their Agents, Sandboxes of their own."""
        above, pending = {key}, [key]
        while pending:
            parent = pending.pop()
            for below, budget in self.budgets.items.items():
                ref = budget.spec.parent_ref
                if ref is not None and ref.key(below[0]) == parent and below not in above:
                    above.add(below)
                    pending.append(below)
                    self._enqueue(BUDGET, below)
        for agent_key, agent in self.agents.items.items():
            ref = agent.spec.budget_ref
            if (ref.key(agent_key[0]) if ref is not None else (agent_key[0], "default")) in above:
                self._enqueue(AGENT, agent_key)
        for sandbox_key, sandbox in self.sandboxes.items.items():
            if sandbox.spec.agent_ref is None:
                self._enqueue(SANDBOX, sandbox_key)

    def _agent_changed(self, change: Change[Agent]) -> None:
        self._enqueue(AGENT, change.key)
        if change.before is None or change.after is None or change.before.spec != change.after.spec:
            for sandbox in self.sandboxes_of(change.key):
                self._enqueue(SANDBOX, sandbox.key)

    def _sandbox_changed(self, change: Change[Sandbox]) -> None:
        self._enqueue(SANDBOX, change.key)
        sandbox = change.after or change.before
        if sandbox is not None and sandbox.spec.agent_ref is not None:
            self._enqueue(AGENT, (change.key[0], sandbox.spec.agent_ref.name))

    def _pool_changed(self, change: Change[SandboxPool]) -> None:
        self._enqueue(POOL, change.key)
        for key, agent in self.agents.items.items():
            isolate = agent.spec.environment.isolate
            if isolate is not None and (key[0], isolate.pool_ref.name) == change.key:
                self._enqueue(AGENT, key)

    def _route_changed(self, change: Change[ModelRoute]) -> None:
        self._enqueue(ROUTE, change.key)
        self.route_dependents(change.key)

    def look_at(self, controller: str, key: Key) -> None:
        """One object is looked at again."""
        self._enqueue(controller, key)

    def look_at_account(self, path: str) -> None:
        """The Budget or Agent of an account looks again."""
        kind, namespace, name = names.AccountName.parse(path)
        self._enqueue(kind, (namespace, name))

    def account_dependents(self, path: str) -> None:
        """Whatever waits for an account looks again: it is held now."""
        kind, namespace, name = names.AccountName.parse(path)
        if kind == BUDGET:
            self.budget_dependents((namespace, name))
        else:
            for sandbox in self.sandboxes_of((namespace, name)):
                self._enqueue(SANDBOX, sandbox.key)

    def route_dependents(self, key: Key) -> None:
        """The Agents that name a route look again."""
        for agent_key, agent in self.agents.items.items():
            if any(model.route_ref.key(agent_key[0]) == key for model in agent.spec.models):
                self._enqueue(AGENT, agent_key)

    def _pod_changed(self, change: Change[Pod]) -> None:
        pod = change.after or change.before
        if pod is None:
            return
        for owner in pod.metadata.owner_references:
            if owner.kind == "Sandbox":
                self._enqueue(SANDBOX, (change.key[0], owner.name))
        if names.POOL_LABEL in pod.metadata.labels:
            self._enqueue(POOL, (change.key[0], pod.metadata.labels[names.POOL_LABEL]))

    def _policy_changed(self, change: Change[Named]) -> None:
        policy = change.after or change.before
        if policy is None:
            return
        for owner in policy.metadata.owner_references:
            if owner.kind == "Sandbox":
                self._enqueue(SANDBOX, (change.key[0], owner.name))
            elif owner.kind == "SandboxPool":
                self._enqueue(POOL, (change.key[0], owner.name))

    def _stateful_set_changed(self, change: Change[StatefulSet]) -> None:
        stateful_set = change.after or change.before
        if stateful_set is not None and names.POOL_LABEL in stateful_set.metadata.labels:
            self._enqueue(POOL, (change.key[0], stateful_set.metadata.labels[names.POOL_LABEL]))

    def _namespace_changed(self, change: Change[Named]) -> None:
        name = change.key[1]
        before = self._labels.get(name)
        if change.after is None:
            self._labels.pop(name, None)
        else:
            self._labels[name] = change.after.metadata.labels
        if before == self._labels.get(name):
            return
        # Consent by labels may have come or gone, of Budgets above those of this namespace, too.
        self._all(BUDGET)
        for kind in (AGENT, SANDBOX):
            for known in self.kinds:
                if known.controller == kind:
                    for key in known.store.items:
                        if key[0] == name:
                            self._enqueue(kind, key)

    def _config_map_changed(self, change: Change[ConfigMapSizes]) -> None:
        for key, agent in self.agents.items.items():
            isolate = agent.spec.environment.isolate
            if isolate is not None and (key[0], isolate.code.config_map_ref.name) == change.key:
                self._enqueue(AGENT, key)


def _by_key(items: Mapping[Key, Any]) -> Mapping[ObjectKey, Any]:
    """An ObjectKey is equal to its plain tuple; this tells the type checker."""
    return items  # pyright: ignore[reportReturnType] -- NamedTuple keys hash and compare as tuples


def _decoder(kind: type[Any]) -> Callable[[bytes], Any]:
    return msgspec.json.Decoder(kind).decode
