"""Agent: what runs, where, under which Budget, with which models and bounds. A session is one run of it."""

from typing import Annotated, ClassVar

from annotated_types import Ge, MaxLen, MinLen

from ambit.api.base import ApiModel, Column, Doc, ListMap, Resource, ResourceKind, Rule, StatusModel, immutable
from ambit.api.budget import BudgetLimit
from ambit.api.common import Bounds, Models, ObjectRef, ObservedGeneration
from ambit.api.conditions import Conditions
from ambit.api.environment import Environment
from ambit.api.fields import SessionCount

DEFAULT_BUDGET_NAME = "default"


class PerUser(ApiModel):
    """Limits of each user of an Agent."""

    limits: Annotated[
        tuple[BudgetLimit, ...],
        MinLen(1),
        MaxLen(6),
        ListMap(("window",)),
        Doc(
            "The limits, one entry a window, by the time zone of the Agent's Budget; every one holds.",
            example='[{window: Day, usd: "2"}]',
        ),
    ]


class AgentSpec(ApiModel):
    """What an Agent is."""

    rules: ClassVar[tuple[Rule, ...]] = (
        immutable(
            "budgetRef",
            "budgetRef cannot be changed: what its sessions spent was charged to that Budget; delete the Agent and"
            " create it again with another",
        ),
    )
    budget_ref: Annotated[
        ObjectRef | None,
        Doc(
            "The Budget that its sessions spend. One of another namespace must allow it. It cannot be changed.",
            example="{name: research}",
            absent="the namespace's Budget named default",
        ),
    ] = None
    environment: Annotated[
        Environment, Doc("Where its sessions run.", example="{isolate: {code: {configMapRef: {name: researcher}}}}")
    ]
    models: Models = ()
    bounds: Annotated[
        Bounds,
        Doc("What each session may use at most, besides the Budget's limits.", example='{runtime: 10m, usd: "0.50"}'),
    ] = Bounds()
    concurrent_sessions: Annotated[
        SessionCount | None,
        Doc(
            "How many of its sessions may be open at once; one more is answered 429.",
            example="100",
            unit="sessions",
            absent="not limited, but by its Budget",
        ),
    ] = None
    per_user: Annotated[
        PerUser | None,
        Doc(
            "What each user may use of it: an account between the Agent and that user's sessions (`ambit run --user`)."
            " A session without a user is then refused.",
            example='{limits: [{window: Day, usd: "2"}]}',
            absent="users are not told apart",
        ),
    ] = None


class SessionCounts(StatusModel):
    """How many sessions there are."""

    active: Annotated[int, Ge(0), Doc("Sessions that have not ended.", example="4", unit="sessions")] = 0


class AgentStatus(StatusModel):
    """What Ambit says of an Agent."""

    observed_generation: ObservedGeneration = 0
    conditions: Conditions = ()
    sessions: Annotated[
        SessionCounts | None, Doc("How many sessions it has.", example="{active: 4}", absent="not counted yet")
    ] = None


class Agent(Resource):
    """An Agent is code or an image with bounds; `ambit run NAMESPACE/NAME "input"` opens a session of it. Its sessions
    run in an environment that reaches nothing but the gateway, and spend from its Budget.
    """

    resource: ClassVar[ResourceKind] = ResourceKind(
        kind="Agent",
        plural="agents",
        short_name="agt",
        columns=(Column("Sessions", ".status.sessions.active", type="integer"),),
    )
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.metadata.name.size() <= 63",
            "choose a name of at most 63 characters: it is written as a label on all that runs for the Agent",
        ),
    )
    spec: AgentSpec
    status: AgentStatus = AgentStatus()
