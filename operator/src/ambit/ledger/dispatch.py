"""Batches of operations as bytes, answered as bytes: what the HTTP service and the simulation call alike."""

import json
from collections.abc import Sequence
from typing import Protocol

import msgspec

from ambit.ledger import older_answers, spans, wire
from ambit.ledger.amounts import RESOURCES, Resource, Window
from ambit.ledger.writer import LedgerStopped
from ambit.telemetry import metrics, tracing

NEWEST_VERSION = 2
"""Of the wire. This and the one before are served."""
_batch = msgspec.json.Decoder(wire.Batch)
_operation = msgspec.json.Decoder(wire.AnyOperation)
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What a decoder raises: of no JSON or another type, of no UTF-8, of too many brackets."""


class _Loose(msgspec.Struct, forbid_unknown_fields=True):
    ops: list[object]


class NotABatch(Exception):
    """The body cannot be read, or is of a version that is not served."""


class Answering(Protocol):
    """A writer, or what stands before it."""

    async def apply(self, component: str, ops: Sequence[wire.AnyOperation]) -> list[wire.AnyResult]:
        """As `Writer.apply`."""
        ...

    async def history(self, op: wire.GetHistory) -> wire.History:
        """As `Writer.history`."""
        ...


class Dispatcher:
    """Takes batches to the writer of the moment, and its answers back."""

    def __init__(self, writer: Answering | None = None) -> None:
        self.writer = writer
        """None while this ledger is not the writer: nothing is answered."""

    async def answer(self, component: str, body: bytes, version: int) -> bytes:
        """The answer to a batch of `component`, once all of it is on disk. Raises NotABatch, LedgerStopped."""
        if not 1 <= version <= NEWEST_VERSION:
            raise NotABatch(f"this ledger speaks versions 1 to {NEWEST_VERSION}, not {version}")
        raw = _operations_of(body)
        writer = self.writer
        if writer is None:
            raise LedgerStopped("this ledger is not the writer: it stands by")
        decoded = [_decode(each) for each in raw]
        ops = [each for each in decoded if not isinstance(each, wire.Invalid)]
        answers = iter(await writer.apply(component, ops))
        results = [each if isinstance(each, wire.Invalid) else next(answers) for each in decoded]
        for place, op in enumerate(decoded):
            if isinstance(op, wire.GetHistory) and isinstance(results[place], wire.History):
                results[place] = await writer.history(op)
        for op, result in zip(decoded, results, strict=True):
            _count(component, op, result)
        spans.of_batch(tracing.current(), component, decoded, results)
        if version == 1:
            return older_answers.encode(decoded, results)
        return msgspec.json.encode(wire.Results(results))


def _operations_of(body: bytes) -> Sequence[msgspec.Raw | wire.Invalid]:
    """The operations of a batch, each by itself. Raises NotABatch."""
    try:
        return _batch.decode(body).ops
    except _UNREADABLE as error:
        # One escape of half a character (`\ud800`) makes all of it unreadable there; only its own operation is wrong.
        cause = error
    try:
        ops = msgspec.convert(json.loads(body), _Loose).ops
        return [_by_itself(each) for each in ops]
    except (*_UNREADABLE, ValueError):
        raise NotABatch(f"the body is no batch of operations: {cause}") from cause


def _by_itself(op: object) -> msgspec.Raw | wire.Invalid:
    try:
        return msgspec.Raw(msgspec.json.encode(op))
    except UnicodeEncodeError as error:
        return wire.Invalid(str(error))


def _decode(raw: msgspec.Raw | wire.Invalid) -> wire.AnyOperation | wire.Invalid:
    if isinstance(raw, wire.Invalid):
        return raw
    try:
        return _operation.decode(raw)
    except _UNREADABLE as error:
        return wire.Invalid(str(error))


def _count(component: str, op: wire.AnyOperation | wire.Invalid, result: wire.AnyResult) -> None:
    name = "unreadable" if isinstance(op, wire.Invalid) else str(type(op).__struct_config__.tag)
    metrics.LEDGER_OPERATIONS.labels(component, name, type(result).__name__).inc()
    if isinstance(result, wire.Settled):
        for index in result.overrun.vector():
            metrics.LEDGER_OVERRUNS.labels(RESOURCES[index]).inc()
    if isinstance(op, wire.CountRefusals) and isinstance(result, wire.RefusalsCounted):
        kind = op.account.partition("/")[0]
        labels = ("Refused", wire.RefusalReason.LIMIT_EXCEEDED, kind, op.window, op.resource)
        metrics.LEDGER_REFUSALS.labels(*labels).inc(op.count)
        _count_of_budget("Refused", op.account, op.window, op.resource, op.count)
    if isinstance(op, wire.Reserve) and op.speculative:
        return
    if isinstance(result, wire.Denial):
        _count_refusal(type(result).__name__, result)
    elif isinstance(result, wire.Granted):
        for denial in result.shadow:
            _count_refusal("Shadow", denial)


def _count_refusal(answer: str, denial: wire.Denial) -> None:
    kind = denial.account.partition("/")[0]
    metrics.LEDGER_REFUSALS.labels(answer, denial.reason, kind, denial.window or "", denial.resource or "").inc()
    if answer != "Wait" and denial.window is not None and denial.resource is not None:
        _count_of_budget(answer, denial.account, denial.window, denial.resource, 1)


def _count_of_budget(answer: str, account: str, window: Window, resource: Resource, count: int) -> None:
    kind, _, name = account.partition("/")
    if kind == "budget":
        metrics.BUDGET_REFUSALS.labels(*name.split("/"), window, resource, answer).inc(count)
