"""What a decision asks for: actions in their order, a status, and when to look again."""

from dataclasses import dataclass
from typing import Any

from ambit.api.sandbox import SandboxStatus
from ambit.control.reconcilers.sandbox.runtime import Extension
from ambit.control.reconcilers.sandbox.state import Ending
from ambit.ledger import wire

Json = dict[str, Any]


@dataclass(frozen=True)
class AddFinalizer:
    """Before anything outside the apiserver begins, so that it is ended whatever happens."""


@dataclass(frozen=True)
class RemoveFinalizer:
    """Nothing outside is left."""


@dataclass(frozen=True)
class LookAtPod:
    """Ask the apiserver itself for the Pod: the watch may have been silent since it was made."""

    name: str


@dataclass(frozen=True)
class LookUpSession:
    path: str


@dataclass(frozen=True)
class OpenSession:
    operation: wire.Open


@dataclass(frozen=True)
class HoldRuntime:
    """The first slice, before the environment starts; or a further hold, where the last has expired."""

    operation: wire.Reserve
    charged_ms: int


@dataclass(frozen=True)
class ExtendRuntime:
    extension: Extension


@dataclass(frozen=True)
class SettleRuntime:
    hold_id: str
    used_ms: int


@dataclass(frozen=True)
class CloseSession:
    path: str
    ending: Ending


@dataclass(frozen=True)
class CreatePolicy:
    manifest: Json


@dataclass(frozen=True)
class CreatePod:
    manifest: Json


@dataclass(frozen=True)
class CreateToken:
    """Mint the session's token and put it where the Pod waits for it."""

    pod_uid: str
    runtime_bound_ms: int


@dataclass(frozen=True)
class StopPod:
    name: str
    uid: str
    ending: Ending


@dataclass(frozen=True)
class DeleteSandbox:
    """Its time after finishing is over."""


Action = (
    AddFinalizer
    | RemoveFinalizer
    | LookAtPod
    | LookUpSession
    | OpenSession
    | HoldRuntime
    | ExtendRuntime
    | SettleRuntime
    | CloseSession
    | CreatePolicy
    | CreatePod
    | CreateToken
    | StopPod
    | DeleteSandbox
)


@dataclass(frozen=True)
class Plan:
    """Carry out `actions` in order; then, if there were any, decide anew; else write `status`, if it changed."""

    actions: tuple[Action, ...] = ()
    status: SandboxStatus | None = None
    """None: the status stays as it is."""
    look_again_in_ms: int | None = None
