"""A small ledger to talk to in tests: a tree, a clock that the test moves, and short words for operations."""

import itertools
from collections.abc import Mapping

from ambit.ledger import invariant, snapshot, wire
from ambit.ledger.amounts import Amount, Limit, Resource, Window
from ambit.ledger.changes import AnyChange, Codec, RestoreBegun
from ambit.ledger.images import AnyImage
from ambit.ledger.records import Record
from ambit.ledger.tree import Tree
from ambit.telemetry.reasons import SessionEnd

NOON_MS = 1_767_268_800_000
"""2026-01-01T12:00:00Z: in the middle of a day, at the beginning of a minute."""
MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
ORGANISATION, TEAM, AGENT = "budget/platform/organisation", "budget/team-a/research", "agent/team-a/researcher"
SESSION, OTHER = "session/team-a/s-1", "session/team-a/s-2"


NOTHING = Amount()


def calls(count: int) -> Amount:
    """So many model calls."""
    return Amount(model_calls=count)


def tokens(count: int) -> Amount:
    """So many tokens."""
    return Amount(tokens=count)


def a_limit(amount: int, window: Window = Window.LIFETIME, resource: Resource = Resource.MODEL_CALLS) -> Limit:
    """A limit, of model calls in a lifetime unless said otherwise."""
    return Limit(window, resource, amount)


class Ledger:
    """A tree with its changes and a clock. Every step is checked against the invariant."""

    def __init__(self, now_ms: int = NOON_MS) -> None:
        self.now_ms = now_ms
        self.tree = Tree()
        self.watch = invariant.Watch(self.tree.state)
        self.journal: list[bytes] = []
        self.last_changes: list[AnyChange] = []
        self.records: list[Record] = []
        self._ids = itertools.count(1)

    # -- the outside of the ledger

    def do(self, op: wire.AnyOperation, component: str = "gateway") -> wire.AnyResult:
        """One operation, journalled, with the invariant checked before and after."""
        now_ms = max(self.now_ms, self.tree.state.now_ms)
        before = invariant.standings(self.tree.state, now_ms)
        outcome = self.tree.apply(component, op, self.now_ms)
        self.records.extend(outcome.records)
        self._check(before, outcome.changes, extends=isinstance(op, wire.Extend))
        return outcome.result

    def pass_time(self, by_ms: int) -> None:
        """Moves the clock and lets fall due what does."""
        self.now_ms += by_ms
        now_ms = max(self.now_ms, self.tree.state.now_ms)
        before = invariant.standings(self.tree.state, now_ms)
        due = self.tree.advance(self.now_ms)
        self.records.extend(due.records)
        self._check(before, due.changes, extends=False)

    def _check(
        self, before: Mapping[invariant.Place, invariant.Standing], changes: list[AnyChange], *, extends: bool
    ) -> None:
        self.last_changes = changes
        self.note(changes)
        now_ms = self.tree.state.now_ms
        after = invariant.standings(self.tree.state, now_ms)
        assert invariant.violations_of_step(before, after, extends=extends) == []
        assert invariant.violations(self.tree.state, now_ms) == []
        assert self.watch.violations() == []

    def note(self, changes: list[AnyChange]) -> None:
        """Journals changes that were made to the tree by another way."""
        if changes:
            self.journal.append(Codec.encode(changes))

    def restart(self, tree: Tree) -> None:
        """Goes on with a tree that was taken up."""
        self.tree = tree
        self.watch = invariant.Watch(tree.state)

    def restored(self, batches: int, records: int) -> None:
        """Goes on with what a backup had that was made after so many batches and records, as `ambit ledger restore`."""
        del self.journal[batches:], self.records[records:]
        state = self.replayed().state
        begun = RestoreBegun(state.now_ms)
        state.evolve(begun)
        self.note([begun])
        self.restart(Tree(snapshot.restore(snapshot.take(state, state.now_ms))))

    def replayed(self) -> Tree:
        """The tree that the journal gives after a crash."""
        tree = Tree()
        for batch in self.journal:
            tree.replay(Codec.decode(batch))
        return tree

    def image(self, tree: Tree | None = None) -> list[AnyImage]:
        """Everything about a tree (this one, unless another is given) as a value at the present moment."""
        now_ms = max(self.now_ms, self.tree.state.now_ms)
        return list(snapshot.images((tree or self.tree).state, now_ms))

    def through_snapshot(self, tree: Tree | None = None) -> Tree:
        """A tree (this one, unless another is given) as it is taken up from its snapshot."""
        now_ms = max(self.now_ms, self.tree.state.now_ms)
        return Tree(snapshot.restore(snapshot.take((tree or self.tree).state, now_ms)))

    # -- short words

    def budget(
        self, *limits: Limit, path: str = TEAM, parent: str | None = None, zone: str = "Etc/UTC"
    ) -> wire.AnyResult:
        return self.do(wire.PutAccount(path, limits, parent, zone), "operator")

    def agent(self, *limits: Limit, path: str = AGENT, parent: str = TEAM) -> wire.AnyResult:
        return self.do(wire.PutAccount(path, limits, parent), "operator")

    def remove(self, path: str) -> wire.AnyResult:
        return self.do(wire.RemoveAccount(path), "operator")

    def open(self, *limits: Limit, path: str = SESSION, parent: str = AGENT, grace_ms: int = DAY_MS) -> wire.AnyResult:
        return self.do(wire.Open(path, parent, grace_ms, limits, {"user": "u"}))

    def reserve(
        self,
        want: Amount,
        at_least: Amount | None = None,
        *,
        hold: str | None = None,
        path: str = SESSION,
        expires_in_ms: int = HOUR_MS,
        component: str = "gateway",
    ) -> wire.AnyResult:
        hold = hold or f"hold-{next(self._ids)}"
        return self.do(wire.Reserve(hold, path, want, at_least or want, expires_in_ms), component)

    def extend(
        self,
        sequence: int,
        want: Amount = NOTHING,
        at_least: Amount | None = None,
        *,
        hold: str = "h",
        expires_in_ms: int = HOUR_MS,
    ) -> wire.AnyResult:
        return self.do(wire.Extend(hold, sequence, expires_in_ms, want, want if at_least is None else at_least))

    def settle(self, used: Amount, hold: str = "h", component: str = "gateway") -> wire.AnyResult:
        return self.do(wire.Settle(hold, used), component)

    def release(self, hold: str = "h") -> wire.AnyResult:
        return self.do(wire.Release(hold, "never sent"))

    def close(self, path: str = SESSION) -> wire.AnyResult:
        return self.do(wire.Close(path, SessionEnd.COMPLETED, "done"))

    def kill(self, path: str) -> wire.AnyResult:
        return self.do(wire.Kill(path, "runs amok", "ada"))

    def usage(self, path: str = SESSION) -> wire.Usage:
        result = self.do(wire.GetUsage(path))
        assert isinstance(result, wire.Usage), result
        return result

    def limit_usage(self, path: str) -> tuple[int, int]:
        """Spent and held against the only limit of an account."""
        (view,) = self.usage(path).limits
        return view.spent, view.held


def a_ledger(*limits: Limit, zone: str = "Etc/UTC", now_ms: int = NOON_MS) -> Ledger:
    """A team's Budget with these limits under an organisation's, an Agent, and one open session."""
    ledger = Ledger(now_ms)
    ledger.budget(path=ORGANISATION)
    ledger.budget(*limits, parent=ORGANISATION, zone=zone)
    ledger.agent()
    ledger.open()
    return ledger
