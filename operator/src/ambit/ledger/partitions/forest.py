"""The trees of all partitions, as one ledger has them: those that it writes, and those that it follows."""

from collections.abc import Callable, Sequence

from ambit.ledger.holds import identity_of
from ambit.ledger.tree import Tree

Trees = Callable[[], Sequence[Tree | None]]
"""By partition; None while a tree is still being read."""


class Forest:
    """Finds what is in any of the trees."""

    def __init__(self, trees: Trees) -> None:
        self._trees = trees

    def is_whole(self) -> bool:
        """Whether every tree is there: only then does it mean something that nothing was found."""
        return all(tree is not None for tree in self._trees())

    def place_of(self, path: str) -> int | None:
        """The partition that has an account."""
        for number, tree in enumerate(self._trees()):
            if tree is not None and path in tree.state.accounts:
                return number
        return None

    def root_of(self, path: str) -> str | None:
        """The root of the tree that has an account."""
        for tree in self._trees():
            account = None if tree is None else tree.state.accounts.get(path)
            if account is not None:
                return account.chain()[-1].path
        return None

    def place_of_hold(self, component: str, hold_id: str) -> int | None:
        """The partition that has a hold, or had it: where its holder was granted at least as high a number."""
        identity = identity_of(hold_id)
        if identity is None:
            return None
        had: int | None = None
        for number, tree in enumerate(self._trees()):
            if tree is None:
                continue
            if not identity.sequence:
                if (component, hold_id) in tree.state.named:
                    return number
                continue
            holder = tree.state.holders.get(identity.holder)
            if holder is not None and identity.sequence in holder.holds:
                return number
            if holder is not None and identity.sequence <= holder.watermark:
                had = number
        return had
