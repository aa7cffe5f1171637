"""The ledger's core: one operation in, one answer and the changes it makes out. No I/O, no clock of its own.

Each operation decides on the tree as it is, and alters it through `State.evolve` alone. The caller journals the changes
before it lets anybody see the answer.
"""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import assert_never

from ambit.ledger import account_operations, changes, hold_operations, session_operations, wire
from ambit.ledger.accounts import HoldState
from ambit.ledger.records import Record
from ambit.ledger.state import State
from ambit.ledger.step import Step
from ambit.telemetry.reasons import SessionEnd


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to an operation, and all that changed, in order: what fell due before it, too."""

    result: wire.AnyResult
    changes: list[changes.AnyChange]
    records: list[Record] = field(default_factory=list[Record])
    """What is to be kept with the changes that the tree itself does not need."""


class Tree:
    """The account tree and everything held on it. One writer."""

    def __init__(self, state: State | None = None) -> None:
        self.state = State() if state is None else state

    def replay(self, batch: Iterable[changes.AnyChange]) -> None:
        """Takes up changes that were journalled before."""
        for change in batch:
            self.state.evolve(change)

    def apply(self, component: str, op: wire.AnyOperation, now_ms: int) -> Outcome:
        """Answers one operation of `component` at `now_ms`. Time that goes back is taken to stand still."""
        step = self._step(component, now_ms)
        self._due(step)
        return Outcome(_answer(step, op), step.changes)

    def advance(self, now_ms: int) -> list[changes.AnyChange]:
        """What falls due by `now_ms`: holds that expire and are charged, sessions that nobody holds anything for."""
        step = self._step("", now_ms)
        self._due(step)
        return step.changes

    def next_due_ms(self) -> int | None:
        """When something may fall due next."""
        heads = [heap[0][0] for heap in (self.state.expiries, self.state.idle_sessions) if heap]
        return min(heads, default=None)

    def _step(self, component: str, now_ms: int) -> Step:
        self.state.now_ms = max(self.state.now_ms, now_ms)
        return Step(self.state, component, self.state.now_ms)

    def _due(self, step: Step) -> None:
        state, now_ms = self.state, step.now_ms
        while state.expiries and state.expiries[0][0] <= now_ms:
            due_ms, key = heapq.heappop(state.expiries)
            hold = state.holds.get(key)
            if hold is None or hold.state is not HoldState.OPEN or hold.queued_ms != due_ms:
                continue
            if hold.expires_ms <= now_ms:
                step.record(changes.HoldExpired(now_ms, *key))
            else:
                state.queue(hold)
        while state.idle_sessions and state.idle_sessions[0][0] <= now_ms:
            _, path = heapq.heappop(state.idle_sessions)
            account = state.accounts.get(path)
            abandoned_at_ms = None if account is None or account.session is None else account.session.abandoned_at_ms
            if abandoned_at_ms is not None and abandoned_at_ms <= now_ms:
                message = "nothing was held for it any more"
                step.record(changes.SessionOver(now_ms, path, SessionEnd.ABANDONED, message, cut=False))


def _answer(step: Step, op: wire.AnyOperation) -> wire.AnyResult:
    match op:
        case wire.Reserve():
            return hold_operations.reserve(step, op)
        case wire.Settle():
            return hold_operations.settle(step, op)
        case wire.Extend():
            return hold_operations.extend(step, op)
        case wire.Release():
            return hold_operations.release(step, op)
        case wire.Open():
            return session_operations.open_session(step, op)
        case wire.Close():
            return session_operations.close(step, op)
        case wire.Kill():
            return session_operations.kill(step, op)
        case wire.GetUsage():
            return session_operations.look(step, op)
        case wire.ListSessions():
            return session_operations.list_sessions(step, op)
        case wire.PutAccount():
            return account_operations.put(step, op)
        case wire.RemoveAccount():
            return account_operations.remove(step, op)
        case wire.GetHistory() | wire.Adjust() | wire.AcceptClock() | wire.Resume():
            return wire.Invalid(f"{type(op).__name__} is not served")
        case _:
            assert_never(op)
