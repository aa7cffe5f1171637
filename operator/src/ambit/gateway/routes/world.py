"""The objects that decide what a session may call, as values; whoever decides sees them through `World`.

The gateway watches by itself, so that no other process stands between an edit and its effect.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar, cast

import msgspec

from ambit.api.agent import Agent
from ambit.api.base import InvalidObject, ObjectKey, Resource
from ambit.api.budget import Budget
from ambit.api.model_route import ModelRoute
from ambit.api.sandbox import Sandbox
from ambit.gateway.routes.credentials import Credentials
from ambit.gateway.routes.reports import Reports
from ambit.kube import Change, Key, KubeClient, ListWatch
from ambit.kube import resources as kinds
from ambit.policy import Facts, GatewayAccount, SecretKey
from ambit.policy.routes import credentials_of

R = TypeVar("R", bound=Resource)


class World(Protocol):
    """A snapshot that changes; decisions read it synchronously."""

    @property
    def facts(self) -> Facts:
        """What judgements need; live mappings."""
        ...

    @property
    def sandboxes(self) -> Mapping[ObjectKey, Sandbox]: ...

    @property
    def version(self) -> int:
        """Rises with each change, so that what was derived can be kept until then."""
        ...

    def provider_key(self, credential: SecretKey) -> str | None:
        """The key of a provider; None where it cannot be read."""
        ...

    def credential_refused(self, credential: SecretKey) -> None:
        """The provider did not take the key: it may have been replaced."""
        ...

    async def changed(self, timeout_s: float) -> None:
        """Returns at the next change, at the latest after `timeout_s`."""
        ...


class Changes:
    """Counts changes, and wakes who waits for one."""

    def __init__(self) -> None:
        self.version = 0
        self._event = asyncio.Event()

    def note(self, _: object = None) -> None:
        self.version += 1
        self._event.set()
        self._event = asyncio.Event()

    async def next(self, timeout_s: float) -> None:
        """Returns at the next change, at the latest after `timeout_s`."""
        event = self._event
        try:
            async with asyncio.timeout(timeout_s):
                await event.wait()
        except TimeoutError:
            return


class WatchedWorld:
    """The world as the apiserver has it. `run` keeps it; `synced` says what is still missing."""

    def __init__(self, client: KubeClient, gateway: GatewayAccount) -> None:
        self._changes = Changes()
        self._agents = self._watch(client, kinds.AGENTS, Agent)
        self._sandboxes = self._watch(client, kinds.SANDBOXES, Sandbox)
        self._budgets = self._watch(client, kinds.BUDGETS, Budget)
        self._routes = self._watch(client, kinds.MODEL_ROUTES, ModelRoute)
        self._namespaces: ListWatch[Mapping[str, str]] = ListWatch(client, kinds.NAMESPACES, _labels)
        self._labels: dict[str, Mapping[str, str]] = {}
        self._namespaces.subscribe(self._on_namespace)
        self._namespaces.subscribe(self._changes.note)
        self._credentials = Credentials(client, self._needed_credentials, self._changes.note)
        self._routes.subscribe(lambda _: self._credentials.look_again())
        self._reports = Reports(client, self._routes.items, self._credentials.states, self._changes.next)
        self._facts = Facts(
            gateway=gateway,
            budgets=_by_object_key(self._budgets.items),
            agents=_by_object_key(self._agents.items),
            routes=_by_object_key(self._routes.items),
            namespaces=self._labels,
            credentials=self._credentials.states,
        )

    @property
    def facts(self) -> Facts:
        return self._facts

    @property
    def routes(self) -> Mapping[Key, ModelRoute]:
        """Live."""
        return self._routes.items

    @property
    def sandboxes(self) -> Mapping[ObjectKey, Sandbox]:
        return _by_object_key(self._sandboxes.items)

    @property
    def version(self) -> int:
        return self._changes.version

    @property
    def missing(self) -> str | None:
        """The first kind that has not been listed yet; None: all have."""
        for watch in self._all():
            if not watch.synced.is_set():
                return watch.resource.plural
        return None if self._credentials.read_once else "provider credentials"

    def provider_key(self, credential: SecretKey) -> str | None:
        return self._credentials.key(credential)

    def credential_refused(self, credential: SecretKey) -> None:
        self._credentials.look_again()

    async def changed(self, timeout_s: float) -> None:
        await self._changes.next(timeout_s)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for watch in self._all():
                group.create_task(watch.run())
            await self._routes.synced.wait()
            group.create_task(self._credentials.run())
            group.create_task(self._reports.run())

    def _all(self) -> tuple[ListWatch[Any], ...]:
        return (self._agents, self._sandboxes, self._budgets, self._routes, self._namespaces)

    def _watch(self, client: KubeClient, kind: kinds.Resource, model: type[R]) -> ListWatch[R]:
        watch = ListWatch(client, kind, _decoder(model))
        watch.subscribe(self._changes.note)
        return watch

    def _on_namespace(self, change: Change[Mapping[str, str]]) -> None:
        if change.after is None:
            self._labels.pop(change.key[1], None)
        else:
            self._labels[change.key[1]] = change.after

    def _needed_credentials(self) -> set[SecretKey]:
        return {credential for route in self._routes.items.values() for credential in credentials_of(route)}


def _by_object_key(items: Mapping[Key, R]) -> Mapping[ObjectKey, R]:
    # An ObjectKey equals the plain tuple of a cache's key, and hashes alike.
    return cast(Mapping[ObjectKey, R], items)


def _decoder(model: type[R]) -> Callable[[bytes], R]:
    def decode(raw: bytes) -> R:
        try:
            return model.from_dict(msgspec.json.decode(raw))
        except InvalidObject as error:
            raise ValueError(str(error)) from error

    return decode


class _Metadata(msgspec.Struct):
    labels: dict[str, str] = {}


class _Namespace(msgspec.Struct):
    metadata: _Metadata


def _labels(raw: bytes) -> Mapping[str, str]:
    return msgspec.json.decode(raw, type=_Namespace).metadata.labels
