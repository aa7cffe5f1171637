"""What one partition's writer cannot know of its tree alone: that an account has its place in another one.

An account is counted where it was first made, also when it is removed and comes back: in another tree it would begin
at nothing.
"""

from collections.abc import Awaitable, Callable, Sequence

from ambit.ledger import wire
from ambit.ledger.partitions.forest import Forest
from ambit.ledger.partitions.rendezvous import partition_of
from ambit.ledger.writer import Writer


class Gate:
    """Stands before the writer of one partition, `number` of `partitions`, as its dispatcher sees it.

    `fresh` brings the forest up to what is committed by now. It may raise `LedgerStopped`.
    """

    def __init__(
        self, writer: Writer, number: int, partitions: int, forest: Forest, fresh: Callable[[], Awaitable[None]]
    ) -> None:
        self._writer = writer
        self._number = number
        self._partitions = partitions
        self._forest = forest
        self._fresh = fresh

    async def apply(self, component: str, ops: Sequence[wire.AnyOperation]) -> list[wire.AnyResult]:
        """As `Writer.apply`."""
        accounts = self._writer.tree.state.accounts
        if any(isinstance(op, wire.PutAccount) and op.path not in accounts for op in ops):
            await self._fresh()  # it may be in another partition since a moment
        refused = [self._refused(op) for op in ops]
        passed = [op for op, refusal in zip(ops, refused, strict=True) if refusal is None]
        answers = iter(await self._writer.apply(component, passed))
        return [next(answers) if refusal is None else refusal for refusal in refused]

    async def history(self, op: wire.GetHistory) -> wire.History:
        """As `Writer.history`."""
        return await self._writer.history(op)

    def _refused(self, op: wire.AnyOperation) -> wire.Invalid | wire.OtherTree | None:
        match op:
            case wire.PutAccount():
                return self._misplaced(op) or self._elsewhere(op.path, op.parent or op.path)
            case wire.Open():
                return self._elsewhere(op.path, op.parent) or self._of_another_root(op)
            case _:
                return None

    def _misplaced(self, op: wire.PutAccount) -> wire.Invalid | None:
        if op.parent is not None or op.path in self._writer.tree.state.accounts:
            return None
        place = partition_of(op.path, self._partitions)
        if place == self._number:
            return None
        return wire.Invalid(f"the tree of {op.path} belongs into partition {place}, not {self._number}: ask its writer")

    def _of_another_root(self, op: wire.Open) -> wire.OtherTree | None:
        """The refusal of a sub-session in the name of an Agent that is bounded in another tree than it would be."""
        if op.agent is None or self._elsewhere(op.agent, op.parent) is None:
            return None
        agent_root, parent_root = self._forest.root_of(op.agent), self._forest.root_of(op.parent)
        return wire.OtherTree(
            op.agent,
            f"{op.path} cannot run in the name of {op.agent} under {op.parent}: the Agent is bounded by {agent_root}, "
            f"and what runs there is charged to {parent_root}. Put both under one root Budget, or open it with the "
            f"Agent as its parent: then {agent_root} is charged",
        )

    def _elsewhere(self, path: str, beside: str) -> wire.OtherTree | None:
        """The refusal of an account that is in another tree than `beside`, were it in the same partition or not."""
        root = self._forest.root_of(path)
        if root is None:
            return None
        beside_root = beside if beside == path else self._forest.root_of(beside)
        if beside_root is None or root == beside_root:
            return None
        return wire.OtherTree(
            path,
            f"{path} is counted in the tree of {root}, where it was first made, also after it was removed: what it has "
            f"spent cannot go with it to that of {beside_root}. Put it under {root}, or give it another name",
        )
