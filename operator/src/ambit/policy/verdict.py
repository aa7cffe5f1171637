"""What a judgement says."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ambit.api.base import ObjectKey
from ambit.api.budget import Enforcement, ResourceName, WhenExhausted, Window
from ambit.api.conditions import ConditionType
from ambit.api.environment import ContainerEnvironment
from ambit.api.model_route import FallbackCause, OnDisconnect, Provider, Reasoning
from ambit.policy.bounds import SessionBounds
from ambit.policy.facts import SecretKey
from ambit.policy.price import Price
from ambit.telemetry.reasons import Denial


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, for the condition that speaks of it. The message says what to do."""

    reason: Denial
    message: str
    condition: ConditionType = ConditionType.ACCEPTED


def unresolved(reason: Denial, message: str) -> Problem:
    """Something that the object refers to is not there, or may not be used."""
    return Problem(reason, message, ConditionType.RESOLVED_REFS)


class AccountLimit(NamedTuple):
    """One limit of an account. Units: nano-dollars, tokens, calls, milliseconds."""

    window: Window
    resource: ResourceName
    amount: int


@dataclass(frozen=True)
class AccountTopUp:
    """So much more for a running window, once by its id; units as those of a limit."""

    id: str
    window: Window
    resource: ResourceName
    amount: int


@dataclass(frozen=True)
class Account:
    """An account as the ledger is to have it (`putAccount`)."""

    path: str
    parent: str | None
    limits: tuple[AccountLimit, ...] = ()
    time_zone: str | None = None
    """None: that of the account above."""
    concurrent_sessions: int | None = None
    enforcement: Enforcement = Enforcement.ENFORCE
    warn_at: tuple[int, ...] = ()
    top_ups: tuple[AccountTopUp, ...] = ()
    when_exhausted: WhenExhausted = WhenExhausted.DENY
    user_limits: tuple[AccountLimit, ...] | None = None
    """Of an Agent that tells its users apart: those of each."""


@dataclass(frozen=True)
class RouteBinding:
    """One backend of a model's route, with all that a call to it needs. Everything is parsed: integers, not text."""

    name: str
    """What the agent calls the model."""
    route: ObjectKey
    backend: str
    provider: Provider
    url: str
    """Without `/v1/…` and without a slash at the end: the wire format's own path is added to it."""
    model: str
    """What the server calls it."""
    credential: SecretKey | None
    """None: the server is called without a key."""
    price: Price
    context_tokens: int
    max_output_tokens: int
    prompt_overhead_tokens: int
    priority: int = 0
    """The lowest is called first."""
    weight: int = 1
    """Its share of the calls among those of its priority."""
    max_concurrent: int | None = None
    """Calls under way at one time in one process; None: no limit."""
    first_byte_ms: int | None = None
    """How long it may take to begin its answer; None: as long as any server may be silent."""
    on_disconnect: OnDisconnect = OnDisconnect.CONTINUES
    reasoning: Reasoning | None = None
    """Whether its streams show all output that is billed; None: as the request says."""


@dataclass(frozen=True)
class UsableModel:
    """How one model of a session is reached: by one of these backends, or by several one after the other."""

    name: str
    """What the agent calls it."""
    route: ObjectKey
    provider: Provider
    """The wire format of every backend."""
    backends: tuple[RouteBinding, ...]
    """Those that can be called, in the route's order; at least one."""
    fall_back_when: frozenset[FallbackCause]
    """What has to happen so that a call goes to the next backend."""
    max_attempts: int
    """How many backends one call is sent to at most."""


@dataclass(frozen=True)
class IsolateBinding:
    """Where an isolate session finds its pool and its code."""

    pool: ObjectKey
    code: ObjectKey
    main: str


@dataclass(frozen=True)
class SessionPolicy:
    """What a session may do. Two that are equal allow the same."""

    account_parent: str
    """The account under which the session's own is opened: the Agent's, or the Budget's for a Sandbox of its own."""
    budget: ObjectKey
    environment: IsolateBinding | ContainerEnvironment
    models: Mapping[str, UsableModel]
    """By the agent's own name for the model."""
    unusable: Mapping[str, Problem]
    """Models that are named and cannot be called now, and why; the session runs without them."""
    bounds: SessionBounds

    @property
    def limits(self) -> tuple[AccountLimit, ...]:
        """Of the session's account: its bounds, each over its lifetime."""
        amounts = {
            ResourceName.USD: self.bounds.usd_nanos,
            ResourceName.TOKENS: self.bounds.tokens,
            ResourceName.MODEL_CALLS: self.bounds.model_calls,
            ResourceName.RUNTIME: self.bounds.runtime_ms,
        }
        return tuple(AccountLimit(Window.LIFETIME, resource, amount) for resource, amount in amounts.items())


@dataclass(frozen=True)
class Allowed:
    """It may run. `account`: the Agent's own account, None for a Sandbox of its own."""

    policy: SessionPolicy
    account: Account | None

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong and does not keep it from running: models that cannot be called."""
        return tuple(self.policy.unusable.values())


@dataclass(frozen=True)
class Denied:
    """It may not run; at least one problem, the first the most important."""

    problems: tuple[Problem, ...]


Verdict = Allowed | Denied


@dataclass(frozen=True)
class BudgetAccepted:
    """The Budget holds, as this account."""

    account: Account


@dataclass(frozen=True)
class RouteUsable:
    """The route can be called by those that it allows, though perhaps not every one of its backends."""

    unusable: tuple[Problem, ...] = ()
    """What is wrong with backends that cannot be called."""


BudgetVerdict = BudgetAccepted | Denied
RouteVerdict = RouteUsable | Denied
