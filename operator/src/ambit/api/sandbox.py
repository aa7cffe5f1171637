"""Sandbox: one container environment, for a session of a container Agent or straight from a user."""

from typing import Annotated, ClassVar

from annotated_types import Ge, MaxLen

from ambit.api.base import ApiModel, Column, Doc, Resource, ResourceKind, Rule, StatusModel, immutable
from ambit.api.common import BoundsOverride, LocalRef, Models, ObjectRef, ObservedGeneration
from ambit.api.conditions import Conditions
from ambit.api.environment import ContainerEnvironment
from ambit.api.fields import Duration, UsageLabel, UserName

MAX_INPUT_BYTES = 64 * 1024
_IMMUTABLE = (
    "agentRef",
    "session",
    "input",
    "user",
    "usageLabels",
    "environment",
    "budgetRef",
    "models",
    "bounds",
)


class SandboxEnvironment(ApiModel):
    """Where a stand-alone Sandbox runs."""

    container: Annotated[
        ContainerEnvironment,
        Doc("A container: files, shell, any program.", example="{image: registry.example/coder:1.4}"),
    ]


class SandboxSpec(ApiModel):
    """What a Sandbox runs."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.agentRef) != has(self.environment)",
            "give exactly one of agentRef (a session of a container Agent) and environment (a Sandbox of its own)",
        ),
        Rule(
            "!has(self.agentRef) || (!has(self.budgetRef) && (!has(self.models) || self.models.size() == 0))",
            "leave out budgetRef and models beside agentRef: they are the Agent's",
        ),
        Rule(
            "!has(self.session) || has(self.agentRef)",
            "leave out session: the gateway sets it for sessions of Agents",
        ),
        *(
            immutable(
                field,
                f"{field} cannot be changed: a Sandbox is one run; delete it and create another"
                " (only ttlAfterFinished can be changed)",
            )
            for field in _IMMUTABLE
        ),
    )
    agent_ref: Annotated[
        LocalRef | None,
        Doc(
            "The container Agent, in the same namespace, that this is a session of.",
            example="{name: coder}",
            absent="a Sandbox of its own, with `environment`",
        ),
    ] = None
    session: Annotated[
        str | None,
        MaxLen(63),
        Doc(
            "The id of a session that was opened at the gateway; set by the gateway, the same as the Sandbox's name.",
            example="s-7f3kq2m4x6p5w2na",
            absent="the Sandbox's name and the beginning of its UID",
        ),
    ] = None
    input: Annotated[
        str | None,
        MaxLen(131072),
        Rule(
            f"bytes(self).size() <= {MAX_INPUT_BYTES}",
            "write an input of at most 64 KiB; put more into the image, or let the program fetch it",
        ),
        Doc("What the program finds in AMBIT_INPUT; at most 64 KiB.", example="fix the failing test", absent="empty"),
    ] = None
    user: Annotated[
        UserName | None,
        Doc(
            "For whom it runs: an Agent with perUser bounds each of its users, and takes no session without one.",
            example="ada@example.org",
            absent="nobody in particular",
        ),
    ] = None
    usage_labels: Annotated[
        dict[str, UsageLabel] | None,
        MaxLen(5),
        Rule(
            "self.all(name, name.size() >= 1 && name.size() <= 63)",
            "write names of labels of 1 to 63 characters",
        ),
        Doc(
            "By what its usage is told apart in reports, at most five; they do nothing else.",
            example="{ticket: OPS-17}",
            absent="none",
        ),
    ] = None
    environment: Annotated[
        SandboxEnvironment | None,
        Doc(
            "What runs, in a Sandbox without an Agent.",
            example="{container: {image: registry.example/coder:1.4}}",
            absent="that of the Agent",
        ),
    ] = None
    budget_ref: Annotated[
        ObjectRef | None,
        Doc(
            "The Budget that a Sandbox without an Agent spends. One of another namespace must allow it.",
            example="{name: research}",
            absent="the Agent's; without an Agent the namespace's Budget named default",
        ),
    ] = None
    models: Models = ()
    bounds: Annotated[
        BoundsOverride | None,
        Doc(
            "What it may use at most; those of an Agent may only be tightened.",
            example="{runtime: 10m}",
            absent="the Agent's; without an Agent the defaults of an Agent",
        ),
    ] = None
    ttl_after_finished: Annotated[
        Duration,
        Doc(
            "How long a finished Sandbox is kept before it is deleted.",
            example="24h",
            unit="duration of h, m, s and ms",
        ),
    ] = "1h"


class StartupTimes(StatusModel):
    """How long the start took, by the apiserver's and the kubelet's clocks."""

    requested_at: Annotated[
        str | None,
        MaxLen(64),
        Doc("When the Sandbox was created, RFC 3339.", example='"2026-01-02T03:04:05Z"', absent="not known yet"),
    ] = None
    placed_ms: Annotated[
        int | None,
        Ge(0),
        Doc("From creation until its Pod had a node.", example="12", unit="milliseconds", absent="not placed yet"),
    ] = None
    started_ms: Annotated[
        int | None,
        Ge(0),
        Doc("From creation until its container started.", example="640", unit="milliseconds", absent="not started yet"),
    ] = None
    ready_ms: Annotated[
        int | None,
        Ge(0),
        Doc("From creation until its Pod was ready.", example="655", unit="milliseconds", absent="not ready yet"),
    ] = None


class SandboxUsage(StatusModel):
    """What the session has used."""

    usd: Annotated[str, MaxLen(64), Doc("Cost of its model calls.", example='"0.012"', unit="US dollars")] = "0"
    tokens: Annotated[str, MaxLen(64), Doc("Tokens of its model calls.", example='"5120"', unit="tokens")] = "0"
    model_calls: Annotated[str, MaxLen(64), Doc("Its model calls.", example='"7"', unit="calls")] = "0"
    runtime: Annotated[
        str, MaxLen(64), Doc("Time that its container ran.", example="1m30s", unit="duration of h, m, s and ms")
    ] = "0s"


class SandboxStatus(StatusModel):
    """What Ambit says of a Sandbox."""

    observed_generation: ObservedGeneration = 0
    conditions: Conditions = ()
    session: Annotated[
        str | None, MaxLen(128), Doc("The id of its session.", example="s-7f3kq2m4x6p5w2na", absent="not accepted yet")
    ] = None
    pod_name: Annotated[str | None, MaxLen(253), Doc("Its Pod.", example="s-7f3kq2m4x6p5w2na", absent="no Pod yet")] = (
        None
    )
    node: Annotated[str | None, MaxLen(253), Doc("The node it runs on.", example="node-1", absent="not placed yet")] = (
        None
    )
    started_at: Annotated[
        str | None,
        MaxLen(64),
        Doc("When its container started, RFC 3339.", example='"2026-01-02T03:04:05Z"', absent="not started yet"),
    ] = None
    finished_at: Annotated[
        str | None,
        MaxLen(64),
        Doc("When it ended, RFC 3339.", example='"2026-01-02T03:34:05Z"', absent="not ended yet"),
    ] = None
    exit_code: Annotated[
        int | None,
        Doc(
            "Its program's exit code; 0 is success.",
            example="0",
            unit="exit code",
            absent="not ended, or ended from outside",
        ),
    ] = None
    reason: Annotated[
        str | None, MaxLen(128), Doc("Why it ended, as one word.", example="Completed", absent="not ended yet")
    ] = None
    message: Annotated[
        str | None,
        MaxLen(32768),
        Doc("Why it ended, for people.", example="exited with code 0", absent="not ended yet"),
    ] = None
    startup: Annotated[
        StartupTimes | None,
        Doc("How long the start took.", example="{placedMs: 12, startedMs: 640}", absent="not requested yet"),
    ] = None
    usage: Annotated[
        SandboxUsage | None,
        Doc("What it has used.", example='{usd: "0.012", tokens: "5120"}', absent="not known yet"),
    ] = None


class Sandbox(Resource):
    """A Sandbox is one container environment with bounds: a session of a container Agent, or one of its own. It runs
    once, reaches nothing but the gateway, and is deleted some time after it has finished.
    """

    resource: ClassVar[ResourceKind] = ResourceKind(
        kind="Sandbox",
        plural="sandboxes",
        short_name="sbox",
        columns=(
            Column("Agent", ".spec.agentRef.name"),
            Column("Runtime", ".status.usage.runtime"),
            Column("USD", ".status.usage.usd"),
            Column("Exit", ".status.exitCode", type="integer"),
            Column("Node", ".status.node", wide=True),
            Column("Pod", ".status.podName", wide=True),
        ),
    )
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.metadata.name.size() <= 54",
            "choose a name of at most 54 characters: with a part of its UID it becomes the session's id, a label",
        ),
        Rule(
            "!has(self.spec.session) || self.spec.session == self.metadata.name",
            "leave out session: the gateway sets it, to the Sandbox's own name",
        ),
    )
    spec: SandboxSpec
    status: SandboxStatus = SandboxStatus()
