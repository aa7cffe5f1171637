"""ModelRoute: a model server, its credential, its price, and who may use it."""

from enum import StrEnum
from typing import Annotated, ClassVar

from annotated_types import MaxLen, MinLen

from ambit.api.base import ApiModel, Column, Doc, ListMap, Resource, ResourceKind, Rule, StatusModel
from ambit.api.common import AllowedNamespaces, ObservedGeneration, SecretKeyRef
from ambit.api.conditions import Conditions
from ambit.api.fields import Count, Name, Price

_AT_LEAST_ONE = Rule(
    "!isQuantity(string(self)) || quantity(string(self)).isGreaterThan(quantity('0'))",
    "write a whole number of tokens of at least 1, such as 4096 or 200k",
)


class Provider(StrEnum):
    """The wire format that a backend speaks."""

    OPENAI = "OpenAI"
    ANTHROPIC = "Anthropic"
    GEMINI = "Gemini"


class Prices(ApiModel):
    """What a backend costs."""

    input: Annotated[Price, Doc("Input tokens.", example='"3"', unit="US dollars per million tokens")]
    output: Annotated[
        Price,
        Doc(
            "Output tokens; 0 for a model that writes none (embeddings).",
            example='"15"',
            unit="US dollars per million tokens",
        ),
    ]
    cache_read: Annotated[
        Price | None,
        Doc(
            "Input tokens that the provider read from its cache.",
            example='"0.30"',
            unit="US dollars per million tokens",
            absent="as input",
        ),
    ] = None
    cache_write: Annotated[
        Price | None,
        Doc(
            "Input tokens that the provider wrote to its cache.",
            example='"3.75"',
            unit="US dollars per million tokens",
            absent="as input",
        ),
    ] = None
    cache_write_hour: Annotated[
        Price | None,
        Doc(
            "Input tokens that the provider wrote to its cache for an hour.",
            example='"6"',
            unit="US dollars per million tokens",
            absent="calls that ask for it are refused",
        ),
    ] = None


class BackendLimits(ApiModel):
    """What a call to a backend can use at most; a call's cost is bounded by these before it is sent."""

    context_tokens: Annotated[
        Count, _AT_LEAST_ONE, Doc("The model's context: input and output together.", example="200k", unit="tokens")
    ]
    max_output_tokens: Annotated[
        Count, _AT_LEAST_ONE, Doc("The most that the model writes in one answer.", example="64k", unit="tokens")
    ]
    prompt_overhead_tokens: Annotated[
        Count, Doc("The most that the server's own template adds to a prompt.", example="512", unit="tokens")
    ] = "256"


_KEY_STAYS_PRIVATE = Rule(
    # A host without a dot, or of .svc, can only be inside the cluster; NAME.NAMESPACE reads like a public name. A bare
    # number is an address to some resolvers, so a host without a dot begins with a letter.
    "!has(self.credentialRef) || !self.url.startsWith('http://') || self.url.matches("
    "'^http://([A-Za-z][A-Za-z0-9_-]*|[A-Za-z0-9._-]+[.]svc([.]cluster[.]local)?)(:[0-9]+)?(/.*)?$')",
    "write https://…: with credentialRef, plain http would show the key to whoever is on the way; http is for Services"
    " inside the cluster, written http://NAME.NAMESPACE.svc:PORT",
)


class Backend(ApiModel):
    """A model server."""

    rules: ClassVar[tuple[Rule, ...]] = (_KEY_STAYS_PRIVATE,)
    name: Annotated[Name, Doc("Its name in metrics and messages.", example="primary")]
    provider: Annotated[Provider, Doc("The wire format that it speaks.", example="Anthropic")]
    url: Annotated[
        str,
        MaxLen(2048),
        Rule(
            "self.size() <= 1024 && !self.endsWith('/v1') && self.matches("
            "'^https?://[A-Za-z0-9._-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*[A-Za-z0-9._~-])?$')",
            "write http:// or https://, a host, and if need be a port and a path; no slash, query or fragment at the"
            " end, and not the wire format's own path (/v1/…), which the gateway adds: https://api.anthropic.com",
        ),
        Doc(
            "The server's address, before `/v1/…`. With credentialRef, plain http only to Services inside the cluster,"
            " written `http://NAME.NAMESPACE.svc:PORT`.",
            example="https://api.anthropic.com",
        ),
    ]
    model: Annotated[
        str,
        MaxLen(1024),
        Rule(
            "self.size() >= 1 && self.size() <= 256",
            "write the model's name as the server knows it, at most 256 characters",
        ),
        Doc("The model's name at the server.", example="claude-sonnet-5"),
    ]
    credential_ref: Annotated[
        SecretKeyRef | None,
        Doc(
            "The Secret with the server's key; read by the gateway alone, where the namespace has granted it.",
            example="{name: anthropic, key: apiKey}",
            absent="the server is called without a key",
        ),
    ] = None
    price: Annotated[Prices, Doc("What its tokens cost.", example='{input: "3", output: "15"}')]
    limits: Annotated[
        BackendLimits, Doc("What one call can use at most.", example="{contextTokens: 200k, maxOutputTokens: 64k}")
    ]


class ModelRouteSpec(ApiModel):
    """Which server answers, and for whom."""

    backends: Annotated[
        tuple[Backend, ...],
        MinLen(1),
        MaxLen(8),
        ListMap(("name",)),
        Rule("self.size() == 1", "give exactly one backend; this version does not choose between several"),
        Doc(
            "The model servers; exactly one in this version.",
            example='[{name: primary, provider: Anthropic, url: "https://api.anthropic.com", model: claude-sonnet-5,'
            ' price: {input: "3", output: "15"}, limits: {contextTokens: 200k, maxOutputTokens: 64k}}]',
        ),
    ]
    allowed_namespaces: Annotated[
        AllowedNamespaces,
        Doc("The namespaces whose Agents and Sandboxes may use the route.", example="{from: All}"),
    ] = AllowedNamespaces()


class ModelRouteStatus(StatusModel):
    """What Ambit says of a ModelRoute."""

    observed_generation: ObservedGeneration = 0
    conditions: Conditions = ()


class ModelRoute(Resource):
    """A ModelRoute is a model server behind the gateway: its address, its credential, its price and limits, and the
    namespaces that may use it.
    """

    resource: ClassVar[ResourceKind] = ResourceKind(
        kind="ModelRoute",
        plural="modelroutes",
        short_name="mroute",
        columns=(
            Column("Provider", ".spec.backends[0].provider"),
            Column("Model", ".spec.backends[0].model"),
            Column("URL", ".spec.backends[0].url", wide=True),
        ),
    )
    spec: ModelRouteSpec
    status: ModelRouteStatus = ModelRouteStatus()
