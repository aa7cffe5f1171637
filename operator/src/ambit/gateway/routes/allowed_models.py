"""Which models a session may call: the policy's verdict over the world of the moment."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ambit.api.base import ObjectKey
from ambit.api.common import ModelBinding
from ambit.api.model_route import Provider
from ambit.gateway import refusals
from ambit.gateway.identity.session_directory import Session
from ambit.gateway.models.wire_format import RefusedCall
from ambit.gateway.routes.world import World
from ambit.policy import Problem, UsableModel
from ambit.policy.routes import bind_models
from ambit.telemetry.reasons import Denial, Refusal

WAIT_TO_BE_KNOWN_S: Final = 5.0
_UID_SUFFIX: Final = 9  # `-` and eight characters
_MAY_COME: Final = frozenset({Denial.CREDENTIAL_UNKNOWN, Denial.ROUTE_NOT_FOUND})


@dataclass(frozen=True, slots=True)
class Models:
    """What a session's Agent, or its Sandbox, names: what can be called, and why the rest cannot."""

    usable: Mapping[str, UsableModel]
    unusable: Mapping[str, Problem]


class AllowedModels:
    """Derives a session's models, and keeps them until the world changes."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._version = -1
        self._derived: dict[ObjectKey | str, Models] = {}

    async def bind(self, session: Session, name: str, provider: Provider) -> UsableModel:
        """The model that the session calls `name`, with the backends of its route.

        An Agent or route that is not known waits up to 5 s: it may have been created a moment ago.
        Raises RefusedCall: 403, or 503 where something is still not known.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + WAIT_TO_BE_KNOWN_S
        while True:
            models = self.of(session)
            binding = models.usable.get(name) if models is not None else None
            if binding is not None:
                return _speaking(binding, provider)
            problem = models.unusable.get(name) if models is not None else None
            may_come = models is None or (problem is not None and problem.reason in _MAY_COME)
            left_s = deadline - loop.time()
            if not may_come or left_s <= 0:
                break
            await self._world.changed(left_s)
        if models is None:
            raise refusals.not_yet_known(f"the Agent or Sandbox of {session.path}")
        if problem is not None:
            raise refusals.route_unusable(problem)
        known = ", ".join(sorted({*models.usable, *models.unusable})) or "none"
        raise RefusedCall(
            403, Refusal.MODEL_NOT_ALLOWED, f"model {name!r} is not among this agent's models: {known}", field="model"
        )

    def names(self, session: Session, provider: Provider) -> tuple[str, ...]:
        """The names of the models that can be called in this wire format, sorted."""
        models = self.of(session)
        if models is None:
            raise refusals.not_yet_known(f"the Agent or Sandbox of {session.path}")
        return tuple(sorted(name for name, binding in models.usable.items() if binding.provider is provider))

    def of(self, session: Session) -> Models | None:
        """None: its Agent, or its Sandbox, is not known."""
        if self._version != self._world.version:
            self._derived.clear()
            self._version = self._world.version
        key = session.agent or session.path
        if key not in self._derived:
            named = self._named(session)
            if named is None:
                return None
            namespace = session.agent.namespace if session.agent else session.namespace
            self._derived[key] = Models(*bind_models(named, namespace, self._world.facts))
        return self._derived[key]

    def _named(self, session: Session) -> tuple[ModelBinding, ...] | None:
        if session.agent is not None:
            agent = self._world.facts.agents.get(session.agent)
            return agent.spec.models if agent is not None else None
        # The session of a Sandbox of its own is named after the Sandbox and the beginning of its UID.
        sandbox = self._world.sandboxes.get(ObjectKey(session.namespace, session.id[:-_UID_SUFFIX]))
        if sandbox is None or f"{sandbox.key.name}-{sandbox.metadata.uid[:8]}" != session.id:
            return None
        return sandbox.spec.models


def _speaking(binding: UsableModel, provider: Provider) -> UsableModel:
    if binding.provider is not provider:
        raise RefusedCall(
            403,
            Refusal.MODEL_NOT_ALLOWED,
            f"model {binding.name!r} speaks the {binding.provider.value} format; this path is for {provider.value}",
            field="model",
        )
    return binding
