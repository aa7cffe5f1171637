"""One step of the tree: who asks, when, and what came of it so far."""

from ambit.ledger.audit import AnyEntry, seal
from ambit.ledger.changes import AnyChange, Audited
from ambit.ledger.records import Record
from ambit.ledger.state import State


class Step:
    """What an operation sees and how it alters the tree: by `record` alone."""

    __slots__ = ("changes", "component", "now_ms", "records", "settling_only", "state")

    def __init__(self, state: State, component: str, now_ms: int, settling_only: bool = False) -> None:
        self.state = state
        self.component = component
        self.now_ms = now_ms
        self.settling_only = settling_only
        """Whether the disk has no room for what needs more of it later, to end what it begins."""
        self.changes: list[AnyChange] = []
        self.records: list[Record] = []
        """Facts that the tree does not need, kept in the same commit."""

    def record(self, change: AnyChange) -> None:
        """Makes `change` part of the tree, and of what the journal is given."""
        self.state.evolve(change)
        self.changes.append(change)

    def audit(self, path: str, entry: AnyEntry) -> None:
        """Seals a record of the audit about the account at `path`, in the same commit."""
        head, record = seal(self.state.audit_head, self.now_ms, path, entry)
        self.records.append(record)
        self.record(Audited(self.now_ms, head.sequence, head.hash))
