"""What is known when a Sandbox is decided upon: values only."""

from collections.abc import Mapping
from dataclasses import dataclass

from ambit.api.environment import ContainerEnvironment
from ambit.api.sandbox import Sandbox
from ambit.control.objects import Pod
from ambit.control.obstacles import Obstacle
from ambit.control.reconcilers.sandbox.manifests import Cluster
from ambit.control.reconcilers.sandbox.runtime import Hold
from ambit.ledger.amounts import Amount
from ambit.policy import SessionPolicy, Verdict
from ambit.telemetry.reasons import SessionEnd


@dataclass(frozen=True)
class Ending:
    """That, and why, a session is over."""

    reason: SessionEnd
    message: str


@dataclass(frozen=True)
class Session:
    """The session's account as the ledger last showed it."""

    exists: bool
    """False: it was never opened, or is forgotten."""
    attributes: Mapping[str, str]
    ended: Ending | None
    hold: Hold | None
    spent: Amount


@dataclass(frozen=True)
class Snapshot:
    """Everything that a decision is made from."""

    sandbox: Sandbox
    verdict: Verdict
    cluster: Cluster | None
    """None: the gateway's Service has no address yet."""
    session: Session | None
    """None: the ledger has not been asked yet, or has to be asked again."""
    pod: Pod | None
    """The Pod that is there and is this Sandbox's."""
    last_pod: Pod | None
    """The Pod as it was last seen, for one that is gone."""
    looked: bool
    """Whether the apiserver itself was asked for the Pod in this pass: without one in `pod`, there is none."""
    has_policy: bool
    has_token: bool
    refused: Obstacle | None
    """What the apiserver said to a creation of this pass."""
    ledger: Obstacle | None
    """What kept the ledger from doing its part in this pass: it is away, has no room now or none at all, or does not
    know the account above."""
    denial: str | None
    """The ledger's last word on more runtime, if it was no."""
    stopped_for: Ending | None
    """Why this process told the Pod to stop."""
    told_to_stop: bool
    """Whether it was told so in this pass; the watch need not have shown that yet."""


def container_of(policy: SessionPolicy) -> ContainerEnvironment:
    """What a Sandbox runs."""
    if not isinstance(policy.environment, ContainerEnvironment):
        raise TypeError("policy allows a Sandbox for container Agents only")
    return policy.environment
