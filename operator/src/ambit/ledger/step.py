"""One step of the tree: who asks, when, and the changes made so far."""

from dataclasses import dataclass, field

from ambit.ledger.changes import AnyChange
from ambit.ledger.state import State


@dataclass(frozen=True, slots=True)
class Step:
    """What an operation sees and how it alters the tree: by `record` alone."""

    state: State
    component: str
    now_ms: int
    changes: list[AnyChange] = field(default_factory=list[AnyChange])

    def record(self, change: AnyChange) -> None:
        """Makes `change` part of the tree, and of what the journal is given."""
        self.state.evolve(change)
        self.changes.append(change)
