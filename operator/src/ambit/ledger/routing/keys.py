"""What decides the partition of an operation. Pure."""

from dataclasses import dataclass
from enum import Enum

from ambit.ledger import wire
from ambit.ledger.partitions.rendezvous import partition_of


class KeyKind(Enum):
    """What a key is."""

    ROOT = "root"
    """The path of a root Budget: its hash is the partition."""
    PATH = "path"
    """The path of an account: its partition is that of its tree."""
    HOLD = "hold"
    """The id of a hold."""
    ALL = "all"
    """Every partition is asked."""


@dataclass(frozen=True, slots=True)
class Key:
    """By what the partition of an operation is found."""

    kind: KeyKind
    text: str = ""


_ALL = Key(KeyKind.ALL)


def key_of(op: wire.AnyOperation) -> Key:
    """By what the partition of an operation is found. What makes an account goes where its parent is."""
    match op:
        case wire.PutAccount():
            return Key(KeyKind.ROOT, op.path) if op.parent is None else Key(KeyKind.PATH, op.parent)
        case wire.Open():
            return Key(KeyKind.PATH, op.parent)
        case wire.Extend() | wire.Settle() | wire.Release():
            return Key(KeyKind.HOLD, op.id)
        case wire.CountRefusals():
            return Key(KeyKind.PATH, op.account)
        case wire.ListSessions():
            return Key(KeyKind.PATH, op.under) if "/" in op.under else _ALL
        case wire.AcceptClock() | wire.Resume():
            return _ALL
        case _:
            return Key(KeyKind.PATH, op.path)


def nowhere(key: Key, partitions: int) -> int:
    """Whom to ask about what no partition has: any writer answers that it is unknown, and all ask the same."""
    return partition_of(key.text, partitions)
