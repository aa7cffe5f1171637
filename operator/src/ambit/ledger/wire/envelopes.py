"""Batches of operations, and of their results."""

import msgspec

from ambit.ledger.wire.operations import AnyOperation
from ambit.ledger.wire.results import AnyResult


class Batch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /v1/ops`; each operation is decoded apart, so that one bad one spoils no other."""

    ops: list[msgspec.Raw]


class Operations(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The same body where every operation can be read."""

    ops: list[AnyOperation]


class Results(msgspec.Struct, frozen=True):
    """The answer to a batch, one result each, in order."""

    results: list[AnyResult]
