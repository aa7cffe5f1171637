"""Budget: limits that all sessions under it share, over windows of time."""

from enum import StrEnum
from typing import Annotated, ClassVar

from annotated_types import MaxLen, MinLen

from ambit.api.base import ApiModel, Column, Doc, ListMap, Resource, ResourceKind, Rule, StatusModel, immutable
from ambit.api.common import AllowedNamespaces, ObjectRef, ObservedGeneration
from ambit.api.conditions import Conditions
from ambit.api.fields import Amount, Count, Duration, Percent, SessionCount, Usd


class Window(StrEnum):
    """The time that a limit is about."""

    LIFETIME = "Lifetime"
    """For ever; it never resets."""
    MONTH = "Month"
    """A civil month of the Budget's time zone."""
    WEEK = "Week"
    """A civil week of the Budget's time zone, from Monday on."""
    DAY = "Day"
    """A civil day of the Budget's time zone."""
    HOUR = "Hour"
    """An hour of the clock in the Budget's time zone."""
    MINUTE = "Minute"
    """A minute of the clock: a rate."""


class ResourceName(StrEnum):
    """What is counted, in the order in which it is listed."""

    USD = "usd"
    TOKENS = "tokens"
    INPUT_TOKENS = "inputTokens"
    OUTPUT_TOKENS = "outputTokens"
    MODEL_CALLS = "modelCalls"
    RUNTIME = "runtime"


class BudgetLimit(ApiModel):
    """Limits over one window; every one that is set holds."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.usd) || has(self.tokens) || has(self.inputTokens) || has(self.outputTokens)"
            " || has(self.modelCalls) || has(self.runtime)",
            "give at least one of usd, tokens, inputTokens, outputTokens, modelCalls and runtime, for example"
            ' {window: Day, usd: "200"}',
        ),
    )
    window: Annotated[
        Window,
        Doc(
            "The time that the limits are about: Lifetime never resets; Month, Week (from Monday on), Day and Hour are"
            " those of the time zone; Minute is a rate.",
            example="Day",
        ),
    ]
    usd: Annotated[
        Usd | None, Doc("Cost of model calls.", example='"200"', unit="US dollars", absent="not limited in this window")
    ] = None
    tokens: Annotated[
        Count | None,
        Doc(
            "Tokens of model calls, input (cached too) and output.",
            example="2M",
            unit="tokens",
            absent="not limited in this window",
        ),
    ] = None
    input_tokens: Annotated[
        Count | None,
        Doc(
            "Input tokens of model calls, cached ones too.",
            example="1500k",
            unit="tokens",
            absent="not limited in this window",
        ),
    ] = None
    output_tokens: Annotated[
        Count | None,
        Doc(
            "Output tokens of model calls, hidden reasoning too.",
            example="500k",
            unit="tokens",
            absent="not limited in this window",
        ),
    ] = None
    model_calls: Annotated[
        Count | None, Doc("Model calls.", example="600", unit="calls", absent="not limited in this window")
    ] = None
    runtime: Annotated[
        Duration | None,
        Doc(
            "Time that sessions' environments run, added up.",
            example="5000h",
            unit="duration of h, m, s and ms",
            absent="not limited in this window",
        ),
    ] = None


class Enforcement(StrEnum):
    """What limits do."""

    ENFORCE = "Enforce"
    SHADOW = "Shadow"
    """Count, and report what they would have refused; refuse nothing."""


class WhenExhausted(StrEnum):
    """What becomes of the sessions of a Budget that has no room left."""

    DENY = "Deny"
    """Their calls are refused until there is room again."""
    TERMINATE = "Terminate"
    """They are ended."""


class TopUp(ApiModel):
    """More of one resource, once."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.resource == 'runtime' || self.resource == 'usd' || (isQuantity(string(self.amount))"
            " && quantity(string(self.amount)).isInteger())",
            "write a whole number, such as 100, 500k or 2M, for tokens and calls",
        ),
        Rule(
            "self.resource == 'runtime' || (isQuantity(string(self.amount))"
            " && quantity(string(self.amount)).isGreaterThan(quantity('0')))",
            'write a quantity above 0, such as "500" or 2M',
        ),
        Rule(
            "self.resource != 'runtime' || string(self.amount).matches('^([0-9]{1,5}(h|m|s|ms)){1,4}$')",
            "write a duration for runtime, of h, m, s and ms with whole numbers, such as 30m or 100h",
        ),
    )
    id: Annotated[
        str,
        MaxLen(512),
        Rule(
            "self.size() <= 63 && self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
            "write an id of lower-case letters, digits and '-', at most 63 characters",
        ),
        Doc("Names it: a top-up is applied once by its id, whatever is edited afterwards.", example="april-extra"),
    ]
    window: Annotated[
        Window,
        Doc(
            "The limit that it raises, one of spec.limits; the window that runs when it is first seen.",
            example="Month",
        ),
    ]
    resource: Annotated[ResourceName, Doc("What there is more of.", example="usd")]
    amount: Annotated[
        Amount, Doc("How much more.", example='"500"', unit="that of the limit: US dollars, tokens, calls, duration")
    ]


class BudgetSpec(ApiModel):
    """What a Budget allows."""

    rules: ClassVar[tuple[Rule, ...]] = (
        immutable(
            "parentRef",
            "parentRef cannot be changed: what is spent was charged to that parent; create another Budget instead",
        ),
        Rule(
            "!has(self.topUps) || self.topUps.all(t, self.limits.exists(l, l.window == t.window && ("
            + " || ".join(f"(t.resource == '{resource}' && has(l.{resource}))" for resource in ResourceName)
            + ")))",
            'give limits what the top-up is of, such as {window: Month, usd: "1000"}, or leave out the top-up: a top-up'
            " raises a limit; one that was applied stays so",
        ),
    )
    parent_ref: Annotated[
        ObjectRef | None,
        Doc(
            "The Budget above; the limits of every ancestor hold too. It cannot be changed.",
            example="{name: organisation, namespace: platform}",
            absent="no Budget above",
        ),
    ] = None
    allowed_namespaces: Annotated[
        AllowedNamespaces,
        Doc(
            "The namespaces whose Budgets may have this one as parent, and whose Agents and Sandboxes may use it.",
            example="{from: Selector, selector: {matchLabels: {team: research}}}",
        ),
    ] = AllowedNamespaces()
    time_zone: Annotated[
        str,
        MaxLen(512),
        Rule(
            "self.size() <= 64 && self.matches('^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$')",
            "write a time zone of the IANA database, such as Etc/UTC or Europe/Berlin",
        ),
        Doc("The IANA time zone whose hours, days, weeks and months the windows are.", example="Europe/Berlin"),
    ] = "Etc/UTC"
    limits: Annotated[
        tuple[BudgetLimit, ...],
        MinLen(1),
        MaxLen(6),
        ListMap(("window",)),
        Doc(
            "The limits, one entry a window; every one holds.",
            example='[{window: Day, usd: "200"}, {window: Minute, modelCalls: 600}]',
        ),
    ]
    concurrent_sessions: Annotated[
        SessionCount | None,
        Doc(
            "How many sessions may be open at once under it; one more is answered 429.",
            example="500",
            unit="sessions",
            absent="not limited",
        ),
    ] = None
    warn_at: Annotated[
        tuple[Percent, ...],
        MaxLen(5),
        Doc(
            "Parts of each limit at which calls carry a warning, once a window, and a metric counts it. A Minute warns"
            " of nothing.",
            example="[50, 80, 95]",
            unit="percent of what is spent",
            absent="no warnings",
        ),
    ] = ()
    enforcement: Annotated[
        Enforcement,
        Doc(
            "Enforce refuses what has no room. Shadow counts and reports what it would have refused, and refuses"
            " nothing; limits of other Budgets above and below hold all the same.",
            example="Shadow",
        ),
    ] = Enforcement.ENFORCE
    top_ups: Annotated[
        tuple[TopUp, ...],
        MaxLen(100),
        ListMap(("id",)),
        Doc(
            "More for a running window, each applied once.",
            example='[{id: april-extra, window: Month, resource: usd, amount: "500"}]',
            absent="no more than the limits",
        ),
    ] = ()
    when_exhausted: Annotated[
        WhenExhausted,
        Doc(
            "What becomes of its sessions once what is spent leaves no room until a window of an hour or longer ends:"
            " Deny refuses their calls with 402, Terminate ends them too.",
            example="Terminate",
        ),
    ] = WhenExhausted.DENY


class ResourceUsage(StatusModel):
    """How one resource stands in one window."""

    resource: Annotated[ResourceName, Doc("What is counted.", example="usd")]
    limit: Annotated[str, MaxLen(64), Doc("The limit that holds.", example='"200"', unit="that of the limit")]
    spent: Annotated[str, MaxLen(64), Doc("What was used.", example='"131.20"', unit="that of the limit")]
    held: Annotated[
        str,
        MaxLen(64),
        Doc("What is reserved for work that is under way.", example='"4.10"', unit="that of the limit"),
    ]
    remaining: Annotated[
        str,
        MaxLen(64),
        Doc(
            "What is neither spent nor held; 0 where a lowered limit is exceeded.",
            example='"64.70"',
            unit="that of the limit",
        ),
    ]
    reason: Annotated[
        str | None,
        MaxLen(64),
        Doc(
            "Why it refuses until the window ends: LimitExhausted, nothing is left; TooLittleLeft, less is left than"
            " what was refused needed.",
            example="TooLittleLeft",
            absent="it has room",
        ),
    ] = None
    refused_from: Annotated[
        str | None,
        MaxLen(64),
        Doc(
            "The least that was refused in the running window, and that there still is no room for; known from the last"
            " start of the ledger on.",
            example='"0.05"',
            unit="that of the limit",
            absent="nothing was refused that would not fit now",
        ),
    ] = None


class WindowUsage(StatusModel):
    """How a Budget stands in the running window."""

    window: Annotated[Window, Doc("The window.", example="Day")]
    start: Annotated[
        str | None,
        MaxLen(64),
        Doc("When the running window began, RFC 3339.", example='"2026-01-02T00:00:00Z"', absent="Lifetime has none"),
    ] = None
    end: Annotated[
        str | None,
        MaxLen(64),
        Doc(
            "When it ends and the next begins at zero, RFC 3339.",
            example='"2026-01-03T00:00:00Z"',
            absent="Lifetime has none",
        ),
    ] = None
    usage: Annotated[
        tuple[ResourceUsage, ...],
        MaxLen(6),
        ListMap(("resource",)),
        Doc("Each limited resource.", example='[{resource: usd, limit: "200", spent: "131.20"}]'),
    ] = ()


class TightestLimit(StatusModel):
    """The limit that is nearest to refusing, for people."""

    used: Annotated[
        str, MaxLen(64), Doc("What is spent of it, rounded down.", example="62% usd/Day", unit="percent of the limit")
    ]
    spent: Annotated[str, MaxLen(64), Doc("What was used.", example='"12.40"', unit="that of the limit")]
    limit: Annotated[str, MaxLen(64), Doc("The limit that holds.", example='"20"', unit="that of the limit")]


class BudgetStatus(StatusModel):
    """What Ambit says of a Budget."""

    observed_generation: ObservedGeneration = 0
    conditions: Conditions = ()
    limits: Annotated[
        tuple[WindowUsage, ...],
        MaxLen(6),
        ListMap(("window",)),
        Doc(
            "How each limited window stands; mirrored from the ledger at most once a second.", example="[{window: Day}]"
        ),
    ] = ()
    tightest: Annotated[
        TightestLimit | None,
        Doc(
            "The limit that is nearest to refusing; a Minute's only where there is no other.",
            example='{used: 62% usd/Day, spent: "12.40", limit: "20"}',
            absent="not known yet",
        ),
    ] = None


class Budget(Resource):
    """A Budget bounds what all sessions under it may use together, over windows of time; the limits of its parents hold
    too. Nothing runs without one.
    """

    resource: ClassVar[ResourceKind] = ResourceKind(
        kind="Budget",
        plural="budgets",
        short_name="bud",
        columns=(
            Column("Tightest", ".status.tightest.used"),
            Column("Spent", ".status.tightest.spent"),
            Column("Limit", ".status.tightest.limit"),
        ),
    )
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            # Rules do not see the namespace: a parentRef that names the Budget's own is found by ambit.policy.
            "!has(self.spec.parentRef) || has(self.spec.parentRef.namespace)"
            " || self.spec.parentRef.name != self.metadata.name",
            "leave out parentRef, or name another Budget: a Budget does not stand above itself",
        ),
    )
    spec: BudgetSpec
    status: BudgetStatus = BudgetStatus()
