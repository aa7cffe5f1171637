"""The parts of a tree as values, of which a snapshot is made.

Encoded by position; a new field goes last, with a default.
"""

import msgspec

from ambit.ledger.allowance import Allowance
from ambit.ledger.amounts import Vector, Window
from ambit.ledger.audit import Head
from ambit.ledger.changes import HoldExtended, HoldPlaced
from ambit.ledger.holds import HoldState, Part
from ambit.ledger.policy import PolicyImage
from ambit.ledger.sessions import Ending
from ambit.ledger.state_of_accounts import NamedKey
from ambit.ledger.wire.vocabulary import Confirmation


class Image(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A part of a tree."""


class KillImage(msgspec.Struct, frozen=True, array_like=True):
    """A `Kill`, its sessions by path."""

    at_ms: int
    waiting: list[str]
    presumed: bool
    confirmed: Confirmation | None


class SessionImage(msgspec.Struct, frozen=True, array_like=True):
    """A `Session`, its holds apart and its Agent by path."""

    attributes: dict[str, str]
    grace_ms: int
    opened_ms: int
    idle_since_ms: int
    user: str
    labels: dict[str, str]
    agent: str | None
    ending: Ending | None
    gone: bool
    parked_by: str | None = None
    away: bool = False
    doomed: Ending | None = None
    silent: int = 0


class WindowImage(msgspec.Struct, frozen=True, array_like=True):
    """A `Running`, its totals sparse."""

    start_ms: int
    end_ms: int
    zone: str
    spent: Vector
    held: Vector


class AccountImage(Image, frozen=True, tag="account"):
    """An `Account` without its holds, its parent by path."""

    path: str
    parent: str | None
    allowance: Allowance
    zone: str
    spent: Vector
    held: Vector
    windows: tuple[WindowImage, ...]
    overrun: Vector
    removed: bool
    session: SessionImage | None
    kill: KillImage | None
    policy: PolicyImage | None = None
    zones: tuple[tuple[int, str], ...] = ()
    ended: tuple[tuple[Window, int, int, Vector], ...] = ()
    """What is to be recorded of its windows that are over."""


class HolderImage(Image, frozen=True, tag="holder"):
    """A `Holder` without its holds."""

    name: str
    component: str
    heard_ms: int
    watermark: int
    looked_at_ms: int


class HoldImage(Image, frozen=True, tag="hold"):
    """A `Hold`, its chain by path, without what has folded of it."""

    chain: tuple[str, ...]
    first: HoldPlaced
    parts: tuple[Part, ...]
    expires_ms: int
    last: HoldExtended | None
    state: HoldState
    number: int
    speculative: bool
    recalled: bool
    left: tuple[str, ...] = ()
    """What has folded of its chain."""


class TreeImage(Image, frozen=True, tag="tree"):
    """What is the tree's as a whole. Comes first."""

    now_ms: int
    clock_doubted: bool
    restore_pending: bool
    closed_names: list[tuple[int, NamedKey]]
    audit_head: Head = Head()


AnyImage = TreeImage | AccountImage | HolderImage | HoldImage
