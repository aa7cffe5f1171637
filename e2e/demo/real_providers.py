"""Routes to the real OpenAI and Anthropic, for who has a key in the environment and a cluster with a way out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ambit.policy.routes import CREDENTIAL_READER_ROLE
from e2e.install import NAMESPACE

SECRET_KEY: Final = "apiKey"


@dataclass(frozen=True, slots=True)
class RealProvider:
    """A provider's API and a current small model of it. Prices: US dollars per million tokens, as the provider states.

    `name` is that of the ModelRoute and its Secret, `variable` the environment variable of its SDKs for the key.
    `context_tokens` stays below the prompt length from which the provider charges more, so that the prices always hold;
    `max_output_tokens` is far below what the model can write, so that the hold of one call stays small.
    """

    name: str
    variable: str
    wire_format: str
    url: str
    model: str
    price: Mapping[str, str]
    context_tokens: int
    max_output_tokens: int


REAL_PROVIDERS: Final = (
    RealProvider(
        name="openai",
        variable="OPENAI_API_KEY",
        wire_format="OpenAI",
        url="https://api.openai.com",
        model="gpt-6-luna",
        # developers.openai.com/api/docs/models/gpt-6-luna, November 2026; prompts above 272k tokens cost more.
        price={"input": "0.10", "output": "0.50", "cacheRead": "0.01", "cacheWrite": "0.125"},
        context_tokens=272_000,
        max_output_tokens=16_000,
    ),
    RealProvider(
        name="anthropic",
        variable="ANTHROPIC_API_KEY",
        wire_format="Anthropic",
        url="https://api.anthropic.com",
        model="claude-haiku-5-5",
        # platform.claude.com/docs/en/models/haiku-5-5, November 2026; prompts above 100k tokens cost more.
        price={"input": "0.10", "output": "0.50", "cacheRead": "0.01", "cacheWrite": "0.125"},
        context_tokens=100_000,
        max_output_tokens=16_000,
    ),
)


@dataclass(frozen=True, slots=True)
class Credential:
    """Somebody's key at a provider; it does not show when it is printed."""

    provider: RealProvider
    key: str = field(repr=False)


def credentials(environ: Mapping[str, str]) -> tuple[Credential, ...]:
    """A credential for each provider whose variable is set to something."""
    return tuple(
        Credential(provider, key) for provider in REAL_PROVIDERS if (key := environ.get(provider.variable, "").strip())
    )


def manifests(given: Sequence[Credential]) -> list[dict[str, Any]]:
    """What makes a route to each: the grant that lets the gateway read this namespace's keys, Secrets, ModelRoutes."""
    if not given:
        return []
    each = [manifest for credential in given for manifest in (_secret(credential), _route(credential.provider))]
    return [_grant(), *each]


def without_keys(text: str, given: Sequence[Credential]) -> str:
    """`text` with every key in it taken out, to be shown."""
    for credential in given:
        text = text.replace(credential.key, f"(the value of {credential.provider.variable})")
    return text


def _grant() -> dict[str, Any]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "ambit-credentials"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": CREDENTIAL_READER_ROLE},
        "subjects": [{"kind": "ServiceAccount", "name": "ambit-gateway", "namespace": NAMESPACE}],
    }


def _secret(credential: Credential) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": credential.provider.name},
        "stringData": {SECRET_KEY: credential.key},
    }


def _route(provider: RealProvider) -> dict[str, Any]:
    backend = {
        "name": provider.name,
        "provider": provider.wire_format,
        "url": provider.url,
        "model": provider.model,
        "credentialRef": {"name": provider.name, "key": SECRET_KEY},
        "price": dict(provider.price),
        "limits": {
            "contextTokens": str(provider.context_tokens),
            "maxOutputTokens": str(provider.max_output_tokens),
        },
    }
    return {
        "apiVersion": "ambit.dev/v1alpha1",
        "kind": "ModelRoute",
        "metadata": {"name": provider.name},
        "spec": {"backends": [backend]},
    }
