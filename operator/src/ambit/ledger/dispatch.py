"""Batches of operations as bytes, answered as bytes: what the HTTP service and the simulation call alike."""

import json
from collections.abc import Sequence
from typing import Protocol

import msgspec
import prometheus_client

from ambit.ledger import older_answers, spans, wire
from ambit.ledger.amounts import RESOURCES, Amount, Resource, Window
from ambit.ledger.writer import LedgerStopped
from ambit.telemetry import metrics, tracing

NEWEST_VERSION = 2
"""Of the wire. This and the one before are served."""
_operations = msgspec.json.Decoder(wire.Operations)
_batch = msgspec.json.Decoder(wire.Batch)
_operation = msgspec.json.Decoder(wire.AnyOperation)
_NO_AMOUNT = Amount()
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What a decoder raises: of no JSON or another type, of no UTF-8, of too many brackets."""


Kind = tuple[type[wire.AnyOperation | wire.Invalid], type[wire.AnyResult]]


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
        self._answers: dict[tuple[str, Kind], prometheus_client.Counter] = {}
        """By component, and types of operation and answer: looking one up by its labels costs more than counting."""

    async def answer(self, component: str, body: bytes, version: int) -> bytes:
        """The answer to a batch of `component`, once all of it is on disk. Raises NotABatch, LedgerStopped."""
        if not 1 <= version <= NEWEST_VERSION:
            raise NotABatch(f"this ledger speaks versions 1 to {NEWEST_VERSION}, not {version}")
        decoded = _decoded(body)
        writer = self.writer
        if writer is None:
            raise LedgerStopped("this ledger is not the writer: it stands by")
        ops = [each for each in decoded if not isinstance(each, wire.Invalid)]
        answers = iter(await writer.apply(component, ops))
        results = [each if isinstance(each, wire.Invalid) else next(answers) for each in decoded]
        for place, op in enumerate(decoded):
            if isinstance(op, wire.GetHistory) and isinstance(results[place], wire.History):
                results[place] = await writer.history(op)
        self._count(component, decoded, results)
        spans.of_batch(tracing.current(), component, decoded, results)
        if version == 1:
            return older_answers.encode(decoded, results)
        return msgspec.json.encode(wire.Results(results))

    def _count(
        self, component: str, ops: Sequence[wire.AnyOperation | wire.Invalid], results: Sequence[wire.AnyResult]
    ) -> None:
        kinds: dict[Kind, int] = {}
        for kind in zip(map(type, ops), map(type, results), strict=True):
            kinds[kind] = kinds.get(kind, 0) + 1
        for kind, times in kinds.items():
            counter = self._answers.get((component, kind))
            if counter is None:
                op, result = kind
                counter = metrics.LEDGER_OPERATIONS.labels(component, _name_of(op), result.__name__)
                self._answers[component, kind] = counter
            counter.inc(times)
        for op, result in zip(ops, results, strict=True):
            _count_bounds(op, result)


def _decoded(body: bytes) -> Sequence[wire.AnyOperation | wire.Invalid]:
    """The operations of a batch, `Invalid` in the place of each that cannot be read. Raises NotABatch."""
    try:
        return _operations.decode(body).ops
    except _UNREADABLE:
        return [_decode(each) for each in _operations_of(body)]


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


def _name_of(op: type[wire.AnyOperation | wire.Invalid]) -> str:
    return "unreadable" if op is wire.Invalid else str(op.__struct_config__.tag)


def _count_bounds(op: wire.AnyOperation | wire.Invalid, result: wire.AnyResult) -> None:
    match result:
        case wire.Settled() if result.overrun != _NO_AMOUNT:
            for index in result.overrun.vector():
                metrics.LEDGER_OVERRUNS.labels(RESOURCES[index]).inc()
        case wire.Granted() | wire.Opened() if result.shadow and not _speculative(op):
            for denial in result.shadow:
                _count_refusal("Shadow", denial)
        case wire.Denial() if not _speculative(op):
            _count_refusal(type(result).__name__, result)
        case wire.RefusalsCounted() if isinstance(op, wire.CountRefusals):
            kind = op.account.partition("/")[0]
            labels = ("Refused", wire.RefusalReason.LIMIT_EXCEEDED, kind, op.window, op.resource)
            metrics.LEDGER_REFUSALS.labels(*labels).inc(op.count)
            _count_of_budget("Refused", op.account, op.window, op.resource, op.count)
        case _:
            pass


def _speculative(op: wire.AnyOperation | wire.Invalid) -> bool:
    return isinstance(op, wire.Reserve) and op.speculative


def _count_refusal(answer: str, denial: wire.Denial) -> None:
    kind = denial.account.partition("/")[0]
    metrics.LEDGER_REFUSALS.labels(answer, denial.reason, kind, denial.window or "", denial.resource or "").inc()
    if answer != "Wait" and denial.window is not None and denial.resource is not None:
        _count_of_budget(answer, denial.account, denial.window, denial.resource, 1)


def _count_of_budget(answer: str, account: str, window: Window, resource: Resource, count: int) -> None:
    kind, _, name = account.partition("/")
    if kind == "budget":
        metrics.BUDGET_REFUSALS.labels(*name.split("/"), window, resource, answer).inc(count)
