"""The objects that the data path decides by, as values: no apiserver."""

from collections.abc import Iterable, Mapping
from typing import Any

from ambit.api.agent import Agent
from ambit.api.base import ObjectKey
from ambit.api.model_route import ModelRoute
from ambit.api.sandbox import Sandbox
from ambit.gateway.routes.world import Changes
from ambit.policy import CredentialState, Facts, GatewayAccount, SecretKey

SECRET = SecretKey("platform", "provider", "apiKey")
PROVIDER_KEY = "sk-provider-key"


class StaticWorld:
    """A world that changes when the test says so."""

    def __init__(self) -> None:
        self._changes = Changes()
        self._agents: dict[ObjectKey, Agent] = {}
        self._routes: dict[ObjectKey, ModelRoute] = {}
        self._sandboxes: dict[ObjectKey, Sandbox] = {}
        self._credentials = {SECRET: CredentialState.READABLE}
        self._keys = {SECRET: PROVIDER_KEY}
        self.refused_credentials: list[SecretKey] = []
        self._facts = Facts(
            gateway=GatewayAccount("ambit-system", "ambit-gateway"),
            agents=self._agents,
            routes=self._routes,
            credentials=self._credentials,
        )

    @property
    def facts(self) -> Facts:
        return self._facts

    @property
    def sandboxes(self) -> Mapping[ObjectKey, Sandbox]:
        return self._sandboxes

    @property
    def version(self) -> int:
        return self._changes.version

    def provider_key(self, credential: SecretKey) -> str | None:
        return self._keys.get(credential)

    def credential_refused(self, credential: SecretKey) -> None:
        self.refused_credentials.append(credential)

    async def changed(self, timeout_s: float) -> None:
        await self._changes.next(timeout_s)

    def put(self, *objects: Agent | ModelRoute | Sandbox) -> None:
        """Creates or replaces objects."""
        for one in objects:
            match one:
                case Agent():
                    self._agents[one.key] = one
                case ModelRoute():
                    self._routes[one.key] = one
                case Sandbox():
                    self._sandboxes[one.key] = one
        self._changes.note()

    def put_credential(self, credential: SecretKey, state: CredentialState, key: str | None = None) -> None:
        """Sets what is known of a Secret."""
        self._credentials[credential] = state
        self._keys.pop(credential, None)
        if key is not None:
            self._keys[credential] = key
        self._changes.note()


def a_route(
    name: str,
    url: str,
    model: str,
    *,
    provider: str = "OpenAI",
    price: Mapping[str, str] | None = None,
    context_tokens: str = "100k",
    max_output_tokens: str = "4k",
    overhead: str = "64",
    credential: bool = True,
    allowed: str = "All",
    more: Iterable[Mapping[str, Any]] = (),
    fallback: Mapping[str, Any] | None = None,
    terms: Mapping[str, Any] | None = None,
) -> ModelRoute:
    """A ModelRoute in the namespace `platform`. By default a token costs one millionth of a dollar, in and out. `terms`
    are further fields of its backend; each of `more` is a backend like it but for what it says.
    """
    backend: dict[str, Any] = {
        "name": "only",
        "provider": provider,
        "url": url,
        "model": model,
        "price": dict(price or {"input": "1", "output": "1"}),
        "limits": {
            "contextTokens": context_tokens,
            "maxOutputTokens": max_output_tokens,
            "promptOverheadTokens": overhead,
        },
        **(terms or {}),
    }
    if credential:
        backend["credentialRef"] = {"name": SECRET.name, "key": SECRET.key}
    return ModelRoute.from_dict(
        {
            "metadata": {"name": name, "namespace": SECRET.namespace},
            "spec": {
                "backends": [backend, *({**backend, **other} for other in more)],
                "allowedNamespaces": {"from": allowed},
                "fallback": dict(fallback or {}),
            },
        }
    )


def an_agent(namespace: str, name: str, models: Mapping[str, str]) -> Agent:
    """An Agent that names these models: its own name → the route's."""
    return Agent.from_dict(
        {
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "environment": {"container": {"image": "example.test/agent:1"}},
                "models": [
                    {"name": model, "routeRef": {"name": route, "namespace": SECRET.namespace}}
                    for model, route in models.items()
                ],
            },
        }
    )
