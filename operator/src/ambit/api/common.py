"""What several kinds contain: references, consent across namespaces, models, and a session's bounds."""

from enum import StrEnum
from typing import Annotated, ClassVar

from annotated_types import MaxLen, MinLen

from ambit.api.base import ApiModel, Doc, ListMap, ObjectKey, Rule
from ambit.api.fields import Count, DataKey, Duration, Name, Namespace, Usd


class LocalRef(ApiModel):
    """Names an object in the same namespace."""

    name: Annotated[Name, Doc("The object's name, in the same namespace.", example="researcher")]


class ObjectRef(ApiModel):
    """Names an object, of another namespace too if that object consents."""

    name: Annotated[Name, Doc("The object's name.", example="research")]
    namespace: Annotated[
        Namespace | None,
        Doc(
            "The object's namespace. One of another namespace must allow it by its `allowedNamespaces`.",
            example="platform",
            absent="the namespace of the object that refers",
        ),
    ] = None

    def key(self, default_namespace: str) -> ObjectKey:
        """What is meant, seen from an object in `default_namespace`."""
        return ObjectKey(self.namespace or default_namespace, self.name)


class SecretKeyRef(ApiModel):
    """Names one key of a Secret in the same namespace."""

    name: Annotated[Name, Doc("The Secret's name, in the same namespace.", example="openai")]
    key: Annotated[DataKey, Doc("The key of its data.", example="apiKey")]


class LabelOperator(StrEnum):
    """How a label is compared."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class LabelRequirement(ApiModel):
    """One requirement on a label, as in Kubernetes' label selectors."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.operator in ['In', 'NotIn'] ? (has(self.values) && self.values.size() > 0)"
            " : (!has(self.values) || self.values.size() == 0)",
            "give values with operator In or NotIn, and none with Exists or DoesNotExist",
        ),
    )
    key: Annotated[str, MinLen(1), MaxLen(317), Doc("The label's key.", example="team")]
    operator: Annotated[LabelOperator, Doc("How the label is compared.", example="In")]
    values: Annotated[
        tuple[Annotated[str, MaxLen(63)], ...],
        MaxLen(64),
        Doc("What the label is compared with, for In and NotIn.", example="[research, coding]", absent="no values"),
    ] = ()


class LabelSelector(ApiModel):
    """Selects by labels; every part must hold. Kubernetes' own shape and meaning."""

    match_labels: Annotated[
        dict[str, Annotated[str, MaxLen(63)]] | None,
        MaxLen(64),
        Doc("Labels that must have exactly these values.", example="{team: research}", absent="no such condition"),
    ] = None
    match_expressions: Annotated[
        tuple[LabelRequirement, ...],
        MaxLen(64),
        Doc(
            "Further requirements; every one must hold.",
            example="[{key: team, operator: Exists}]",
            absent="no further requirements",
        ),
    ] = ()


class NamespacesFrom(StrEnum):
    """Which namespaces are meant."""

    SAME = "Same"
    ALL = "All"
    SELECTOR = "Selector"


class AllowedNamespaces(ApiModel):
    """Consent to be referred to from other namespaces (as Gateway API's `allowedRoutes`)."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "(self.from == 'Selector') == has(self.selector)",
            "give a selector exactly when from is Selector:"
            " {from: Selector, selector: {matchLabels: {team: research}}}",
        ),
    )
    from_: Annotated[
        NamespacesFrom,
        Doc("Same: its own namespace. All: every namespace. Selector: those whose labels match.", example="Selector"),
    ] = NamespacesFrom.SAME
    selector: Annotated[
        LabelSelector | None,
        Doc(
            "Selects namespaces by their labels; only with `from: Selector`.",
            example="{matchLabels: {team: research}}",
            absent="no selection by labels",
        ),
    ] = None


class ModelBinding(ApiModel):
    """A model that the agent may call, under the name that it uses."""

    name: Annotated[
        str,
        MaxLen(512),
        Rule(
            "self.size() <= 128 && self.matches('^[A-Za-z0-9]([-._:/A-Za-z0-9]*[A-Za-z0-9])?$')",
            "write the model's name as the agent sends it: letters, digits, '-', '.', '_', ':' and '/' inside, at most"
            " 128 characters",
        ),
        Doc("The name that the agent sends as `model`.", example="smart"),
    ]
    route_ref: Annotated[ObjectRef, Doc("The ModelRoute that serves it.", example="{name: smart, namespace: platform}")]


Models = Annotated[
    tuple[ModelBinding, ...],
    MaxLen(32),
    ListMap(("name",)),
    Doc(
        "The models that a session may call, each under the agent's own name for it.",
        example="[{name: smart, routeRef: {name: smart, namespace: platform}}]",
        absent="no model may be called",
    ),
]

AT_LEAST_ONE_SECOND = Rule(
    "!self.matches('^([0-9]{1,5}(h|m|s|ms)){1,4}$') || duration(self) >= duration('1s')",
    "write a duration of at least 1s: a session needs some time to run",
)
SessionRuntime = Annotated[Duration, AT_LEAST_ONE_SECOND]


class Bounds(ApiModel):
    """What one session may use at most. Every field has a default: no session is unbounded."""

    runtime: Annotated[
        SessionRuntime,
        Doc("Time that its environment may run.", example="2h", unit="duration of h, m, s and ms"),
    ] = "30m"
    model_calls: Annotated[
        Count, Doc("Model calls; a call that the gateway tries again counts once.", example="500", unit="calls")
    ] = "100"
    tokens: Annotated[
        Count, Doc("Tokens of all model calls, input (cached too) and output.", example="500k", unit="tokens")
    ] = "2M"
    usd: Annotated[
        Usd, Doc("Cost of all model calls, at the prices of their routes.", example='"0.50"', unit="US dollars")
    ] = "5"


class BoundsOverride(ApiModel):
    """Bounds that a Sandbox sets itself. One of an Agent may only tighten the Agent's."""

    runtime: Annotated[
        SessionRuntime | None,
        Doc(
            "Time that its environment may run.",
            example="10m",
            unit="duration of h, m, s and ms",
            absent="the Agent's; 30m without an Agent",
        ),
    ] = None
    model_calls: Annotated[
        Count | None,
        Doc("Model calls.", example="20", unit="calls", absent="the Agent's; 100 without an Agent"),
    ] = None
    tokens: Annotated[
        Count | None,
        Doc(
            "Tokens of all model calls, input (cached too) and output.",
            example="100k",
            unit="tokens",
            absent="the Agent's; 2M without an Agent",
        ),
    ] = None
    usd: Annotated[
        Usd | None,
        Doc(
            "Cost of all model calls, at the prices of their routes.",
            example='"0.25"',
            unit="US dollars",
            absent="the Agent's; 5 without an Agent",
        ),
    ] = None


ObservedGeneration = Annotated[
    int,
    Doc("The `metadata.generation` that this status speaks of.", example="3", unit="generations of the object"),
]
