"""ModelRoute: the model servers behind one name, their credentials and prices, which is called when, and who may."""

from enum import StrEnum
from typing import Annotated, ClassVar

from annotated_types import MaxLen, MinLen

from ambit.api.base import ApiModel, Column, Doc, ListMap, Resource, ResourceKind, Rule, StatusModel
from ambit.api.common import AllowedNamespaces, ObservedGeneration, SecretKeyRef
from ambit.api.conditions import Conditions
from ambit.api.fields import CallCount, Count, Duration, Name, Price, Priority, Weight

_AT_LEAST_ONE = Rule(
    "!isQuantity(string(self)) || quantity(string(self)).isGreaterThan(quantity('0'))",
    "write a whole number of tokens of at least 1, such as 4096 or 200k",
)


_SOME_TIME = Rule(
    "!self.matches('^([0-9]{1,5}(h|m|s|ms)){1,4}$') || duration(self) > duration('0s')",
    "write a duration above zero, such as 30s",
)


class Provider(StrEnum):
    """The wire format that a backend speaks."""

    OPENAI = "OpenAI"
    ANTHROPIC = "Anthropic"
    GEMINI = "Gemini"


class FallbackCause(StrEnum):
    """How a backend failed a call, so that the next one is tried."""

    RATE_LIMITED = "RateLimited"
    """It answered 429."""
    UNAVAILABLE = "Unavailable"
    """It could not be reached, broke off before it answered, did not accept the route's key (401), or answered 529 or
    any status of 500 and above."""
    TIMEOUT = "Timeout"
    """It did not begin to answer in time."""


class OnDisconnect(StrEnum):
    """What a server does when it is cut off in the middle of an answer."""

    STOPS = "Stops"
    """It writes no more, and bills no more."""
    CONTINUES = "Continues"
    """It writes to the end, and bills all of it."""


class Reasoning(StrEnum):
    """Whether a stream shows all the output that is billed."""

    SHOWN = "Shown"
    HIDDEN = "Hidden"


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
    priority: Annotated[
        Priority,
        Doc(
            "When it is called: backends of the lowest number first, those of the next where none of these can take the"
            " call.",
            example="1",
            unit="rank",
            absent="0, the first",
        ),
    ] = 0
    weight: Annotated[
        Weight, Doc("Its share of the calls among the backends of the same priority.", example="3", unit="parts")
    ] = 1
    max_concurrent: Annotated[
        CallCount | None,
        Doc(
            "Calls under way at one time, for each process of the gateway; a call for which no other backend has room"
            " waits, at most 20s.",
            example="50",
            unit="calls",
            absent="no limit",
        ),
    ] = None
    first_byte_timeout: Annotated[
        Duration | None,
        _SOME_TIME,
        Doc(
            "How long it may take to begin its answer; after that, the call is charged and goes to the next backend.",
            example="30s",
            unit="duration of h, m, s and ms",
            absent="the gateway's limit for silent servers, 10m",
        ),
    ] = None
    on_disconnect: Annotated[
        OnDisconnect,
        Doc(
            "What it does when it is cut off: Stops, or Continues to write, and to bill. Streams of a server that Stops"
            " are held in slices as their output flows, others in full.",
            example="Stops",
        ),
    ] = OnDisconnect.CONTINUES
    reasoning: Annotated[
        Reasoning | None,
        Doc(
            "Whether its streams show all output that it bills (Shown), or its model may reason out of sight (Hidden),"
            " which is held in full.",
            example="Shown",
            absent="what the request says: Shown for Anthropic without thinking, for OpenAI with reasoning_effort none,"
            " for Gemini with a thinkingBudget of 0",
        ),
    ] = None


class Fallback(ApiModel):
    """When a call goes to another backend. It never does once the first byte of an answer has been passed on, nor where
    the server refused what the client wrote (400 and its like)."""

    when: Annotated[
        tuple[FallbackCause, ...],
        MinLen(1),
        MaxLen(3),
        Doc(
            "What has to happen. RateLimited: 429. Unavailable: not reached, broken off, 401 to the route's key, 529,"
            " 500 and above. Timeout: no answer begun in time.",
            example="[RateLimited]",
        ),
    ] = (FallbackCause.RATE_LIMITED, FallbackCause.UNAVAILABLE, FallbackCause.TIMEOUT)
    max_attempts: Annotated[
        int,
        Rule("self >= 1 && self <= 8", "write a number of attempts from 1 (never fall back) to 8"),
        Doc(
            "How many backends one call is sent to at most; each is held for and charged by itself.",
            example="2",
            unit="attempts",
        ),
    ] = 3


class ModelRouteSpec(ApiModel):
    """Which servers answer, and for whom."""

    backends: Annotated[
        tuple[Backend, ...],
        MinLen(1),
        MaxLen(8),
        ListMap(("name",)),
        Rule(
            "self.all(backend, backend.provider == self[0].provider)",
            "give all backends the same provider: wire formats are not translated; write one ModelRoute for each"
            " provider, and name each in the Agent's spec.models",
        ),
        Doc(
            "The model servers. Each call goes to one of the lowest priority, by weight; see fallback.",
            example='[{name: primary, provider: Anthropic, url: "https://api.anthropic.com", model: claude-sonnet-5,'
            ' price: {input: "3", output: "15"}, limits: {contextTokens: 200k, maxOutputTokens: 64k}}]',
        ),
    ]
    fallback: Annotated[
        Fallback,
        Doc("When a call that a backend failed goes to another.", example="{when: [RateLimited], maxAttempts: 2}"),
    ] = Fallback()
    allowed_namespaces: Annotated[
        AllowedNamespaces,
        Doc("The namespaces whose Agents and Sandboxes may use the route.", example="{from: All}"),
    ] = AllowedNamespaces()


class BackendStatus(StatusModel):
    """What the gateway found of one backend's credential."""

    name: Annotated[str, Doc("The backend's name.", example="primary")]
    credential: Annotated[
        str, Doc("Whether its key could be read: Readable, SecretMissing or KeyMissing.", example="Readable")
    ]


class ModelRouteStatus(StatusModel):
    """What Ambit says of a ModelRoute."""

    observed_generation: ObservedGeneration = 0
    conditions: Conditions = ()
    backends: Annotated[
        tuple[BackendStatus, ...],
        MaxLen(8),
        ListMap(("name",)),
        Doc(
            "The backends with a credential; written by the gateway, which alone reads them.",
            example="[{name: primary, credential: Readable}]",
        ),
    ] = ()


class ModelRoute(Resource):
    """A ModelRoute is one model behind the gateway: the servers that have it, each with its address, credential, price
    and limits, which of them is called when, and the namespaces that may use it.
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
