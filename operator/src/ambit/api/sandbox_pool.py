"""SandboxPool: the isolate hosts that a namespace's isolate Agents share."""

from typing import Annotated, ClassVar

from annotated_types import Ge

from ambit.api.base import ApiModel, Column, Doc, Resource, ResourceKind, Rule, Scale, StatusModel
from ambit.api.common import ObservedGeneration
from ambit.api.conditions import Conditions
from ambit.api.environment import Resources
from ambit.api.fields import Name


class HostCount(ApiModel):
    """How many hosts there are."""

    min: Annotated[
        int,
        Rule("self >= 1 && self <= 20", "write a whole number of hosts from 1 to 20"),
        Doc("How many hosts run; `kubectl scale` sets it too.", example="3", unit="hosts (Pods)"),
    ] = 1


class IsolatePool(ApiModel):
    """Hosts that run V8 isolates."""

    hosts: Annotated[HostCount, Doc("How many hosts there are.", example="{min: 3}")] = HostCount()
    runtime_class_name: Annotated[
        Name | None,
        Doc(
            "The hosts' RuntimeClass.",
            example="gvisor",
            absent="gvisor where the cluster has it, else the node's default",
        ),
    ] = None
    resources: Annotated[
        Resources | None,
        Doc(
            "CPU and memory of a host.",
            example="{limits: {cpu: '2', memory: 2Gi}}",
            absent="those that Ambit sets for a host",
        ),
    ] = None


class SandboxPoolSpec(ApiModel):
    """What a SandboxPool holds."""

    isolate: Annotated[
        IsolatePool, Doc("Isolate hosts, for the Agents of this namespace.", example="{hosts: {min: 3}}")
    ] = IsolatePool()


class HostStatus(StatusModel):
    """How many hosts there are."""

    desired: Annotated[int, Ge(0), Doc("Hosts that should run.", example="3", unit="hosts (Pods)")] = 0
    ready: Annotated[int, Ge(0), Doc("Hosts that take sessions.", example="3", unit="hosts (Pods)")] = 0


class SandboxPoolStatus(StatusModel):
    """What Ambit says of a SandboxPool."""

    observed_generation: ObservedGeneration = 0
    conditions: Conditions = ()
    hosts: Annotated[
        HostStatus | None, Doc("How many hosts there are.", example="{desired: 3, ready: 3}", absent="not counted yet")
    ] = None


class SandboxPool(Resource):
    """A SandboxPool runs the isolate hosts that its namespace's isolate Agents share: Pods of many V8 isolates."""

    resource: ClassVar[ResourceKind] = ResourceKind(
        kind="SandboxPool",
        plural="sandboxpools",
        short_name="spool",
        columns=(
            Column("Hosts", ".status.hosts.desired", type="integer"),
            Column("Hosts-Ready", ".status.hosts.ready", type="integer"),
        ),
        scale=Scale(spec_path=".spec.isolate.hosts.min", status_path=".status.hosts.ready"),
    )
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.metadata.name.size() <= 38 && !self.metadata.name.contains('.')",
            "choose a name of at most 38 characters without dots: its hosts' names are made from it",
        ),
    )
    spec: SandboxPoolSpec
    status: SandboxPoolStatus = SandboxPoolStatus()
