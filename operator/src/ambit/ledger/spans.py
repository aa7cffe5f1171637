"""What the spans of the ledger say. Nothing is worked out where nobody records it."""

from collections.abc import Sequence

from ambit.ledger import wire
from ambit.ledger.tree import Tree
from ambit.telemetry.tracing import Attribute, Span


def of_batch(
    span: Span, component: str, ops: Sequence[wire.AnyOperation | wire.Invalid], results: Sequence[wire.AnyResult]
) -> None:
    """Who asked for how much, and how much of it was not granted."""
    if not span.recording:
        return
    span.set(Attribute.COMPONENT, component)
    span.set(Attribute.OPERATIONS, len(ops))
    span.set(Attribute.ACCOUNTS, len({path for op in ops if (path := getattr(op, "path", None)) is not None}))
    span.set(Attribute.REFUSALS, sum(isinstance(result, wire.Denial) for result in results))


def of_writer(span: Span, epoch: int, tree: Tree) -> None:
    """What the ledger took up."""
    if span.recording:
        span.set(Attribute.EPOCH, epoch)
        span.set(Attribute.ACCOUNTS, len(tree.state.accounts))
