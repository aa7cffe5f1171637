"""What a judgement needs to know of the cluster, as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any, NamedTuple

from ambit.api.agent import Agent
from ambit.api.base import ObjectKey
from ambit.api.budget import Budget
from ambit.api.model_route import ModelRoute


class SecretKey(NamedTuple):
    """One key of one Secret."""

    namespace: str
    name: str
    key: str


class CredentialState(Enum):
    """What is known of a route's Secret."""

    GRANTED = "Granted"
    """The gateway may read it; who observes this cannot see whether it is there (the operator)."""
    READABLE = "Readable"
    """It is there and has the key (the gateway, having read it)."""
    FORBIDDEN = "Forbidden"
    """The gateway may not read it."""
    SECRET_MISSING = "SecretMissing"
    """It is not there."""
    KEY_MISSING = "KeyMissing"
    """It is there, without the key or with an empty one."""


class GatewayAccount(NamedTuple):
    """The service account that reads credentials; named in the command that grants it."""

    namespace: str
    service_account: str


_EMPTY: Mapping[Any, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Facts:
    """A snapshot. What is absent from a mapping is not there (credentials: not known yet, and so not usable).

    Mappings may be live caches: a judgement only reads them, synchronously. Every
    reader fills in all that the object at hand refers to, or gets a verdict that it is not there.
    """

    gateway: GatewayAccount
    budgets: Mapping[ObjectKey, Budget] = field(default_factory=lambda: _EMPTY)
    agents: Mapping[ObjectKey, Agent] = field(default_factory=lambda: _EMPTY)
    routes: Mapping[ObjectKey, ModelRoute] = field(default_factory=lambda: _EMPTY)
    pools: Mapping[ObjectKey, object] = field(default_factory=lambda: _EMPTY)
    """Only whether they are there counts."""
    code: Mapping[ObjectKey, Mapping[str, int]] = field(default_factory=lambda: _EMPTY)
    """ConfigMaps that Agents name: the size in bytes (UTF-8) of each key of `data`."""
    namespaces: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: _EMPTY)
    """The labels of each namespace."""
    credentials: Mapping[SecretKey, CredentialState] = field(default_factory=lambda: _EMPTY)
