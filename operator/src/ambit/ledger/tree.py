"""The ledger's core: one operation in, one answer and the changes it makes out. No I/O, no clock of its own.

Each operation decides on the tree as it is, and alters it through `State.evolve` alone. The caller journals the changes
and records before it lets anybody see the answer.
"""

from collections.abc import Iterable
from typing import NamedTuple, assert_never

from ambit.ledger import account_operations, changes, hold_operations, ledger_operations, session_operations, wire
from ambit.ledger.falling_due import fall_due, next_due_ms
from ambit.ledger.history import window_record
from ambit.ledger.holds import MARK
from ambit.ledger.listings import Listings
from ambit.ledger.records import Record
from ambit.ledger.refusals import RefusalTally
from ambit.ledger.shortages import Shortages
from ambit.ledger.state import State
from ambit.ledger.step import Step
from ambit.ledger.timers import NEVER

DUE_AT_ONCE = 250
"""How much of each kind falls due in one step: it is all that the ledger does meanwhile."""
DUE_BEFORE_AN_OPERATION = 50
"""The same before an operation is answered: there may be hundreds of operations in a batch."""


class Facts(NamedTuple):
    """All that changed, in order, and what is to be recorded with it."""

    changes: list[changes.AnyChange]
    records: list[Record]


class Outcome(NamedTuple):
    """The answer to an operation, and the facts: what fell due before it, too."""

    result: wire.AnyResult
    changes: list[changes.AnyChange]
    records: list[Record]


class Tree:
    """The account tree and everything held on it. One writer."""

    def __init__(self, state: State | None = None) -> None:
        self.state = State() if state is None else state
        self._refusals = RefusalTally()
        self._listings = Listings()
        self._shortages = Shortages()
        self._used_up: dict[str, tuple[str, str]] = {}
        """By holder, component and id of the last reserve that was denied while the disk had no room to say so."""

    def replay(self, batch: Iterable[changes.AnyChange]) -> None:
        """Takes up changes that were journalled before."""
        evolve = self.state.evolve
        for change in batch:
            evolve(change)

    def apply(self, component: str, op: wire.AnyOperation, now_ms: int, *, settling_only: bool = False) -> Outcome:
        """Answers one operation of `component` at `now_ms`. Time that goes back is taken to stand still.

        `settling_only`: the disk is full, and nothing begins that needs room later.
        """
        step = self._step(component, now_ms, settling_only)
        if step.now_ms >= next_due_ms(self.state):
            fall_due(step, DUE_BEFORE_AN_OPERATION)
        if self._used_up and not settling_only:
            self._say_what_was_used_up(step)
        if self.state.restore_pending:
            result = ledger_operations.while_restoring(step, op)
        else:
            result = _answer(step, op, self._listings)
        if isinstance(op, wire.Reserve) and not isinstance(result, wire.Granted):
            self._use_up(step, op.id)
        if isinstance(result, wire.Refused):
            self._audit_refusals(step, op, (result,), shadow=False)
        elif isinstance(result, wire.Granted) and result.shadow:
            self._audit_refusals(step, op, result.shadow, shadow=True)
        elif isinstance(op, wire.CountRefusals) and isinstance(result, wire.RefusalsCounted):
            bound = (op.account, wire.RefusalReason.LIMIT_EXCEEDED, op.window, op.resource, False)
            self._refusals.add(bound, op.count, step.now_ms)
        elif isinstance(result, wire.Usage):
            result = self._shortages.shown(result, step.now_ms)
        self._conclude(step)
        return Outcome(result, step.changes, step.records)

    def advance(self, now_ms: int) -> Facts:
        """What falls due by `now_ms`: holds that expire and are charged, sessions that nobody holds anything for.

        Where that is much, the rest is due at once: `next_due_ms` says so.
        """
        step = self._step("", now_ms)
        fall_due(step, DUE_AT_ONCE)
        for path, counted in self._refusals.due(step.now_ms):
            step.audit(path, counted)
        self._conclude(step)
        return Facts(step.changes, step.records)

    def next_due_ms(self) -> int | None:
        """When something may fall due next."""
        due_ms = min(next_due_ms(self.state), self._refusals.next_due_ms)
        return None if due_ms == NEVER else due_ms

    def _step(self, component: str, now_ms: int, settling_only: bool = False) -> Step:
        state = self.state
        if now_ms > state.now_ms:
            state.now_ms = now_ms
        return Step(state, component, state.now_ms, settling_only)

    def _use_up(self, step: Step, hold_id: str) -> None:
        if step.settling_only:
            self._used_up[hold_id.rpartition(MARK)[0]] = (step.component, hold_id)
        else:
            hold_operations.use_up(step, hold_id)

    def _say_what_was_used_up(self, step: Step) -> None:
        """Before anything else is held: none of these may be."""
        for component, hold_id in self._used_up.values():
            by_its_holder = Step(self.state, component, step.now_ms)
            hold_operations.use_up(by_its_holder, hold_id)
            step.changes.extend(by_its_holder.changes)
        self._used_up.clear()

    def _audit_refusals(
        self, step: Step, op: wire.AnyOperation, denials: Iterable[wire.Denial], *, shadow: bool
    ) -> None:
        if isinstance(op, wire.Reserve) and op.speculative:
            return  # nobody was refused anything: the act that may come asks for itself
        session = op.path if isinstance(op, wire.Reserve) else ""
        for denial in denials:
            if denial.reason is wire.RefusalReason.STORAGE_FULL:
                continue  # no bound refused it, and there is no room to say so
            self._shortages.note(self.state, denial)
            first = self._refusals.note(denial, session, step.now_ms, shadow=shadow)
            if first is not None:
                step.audit(denial.account, first)

    def _conclude(self, step: Step) -> None:
        """What follows from all that a step has done."""
        if self.state.confirmable:
            session_operations.confirm_kills(step)
        if self.state.ended:
            _record_windows(step)


def _record_windows(step: Step) -> None:
    """Records what was spent in the windows that ended. A change says so, that a replay does not do it again."""
    for path in step.state.ended.paths():
        step.state.turn(step.state.accounts[path], step.now_ms)  # as the change will: nothing ends that is not recorded
        step.records.extend(window_record(path, each, step.now_ms) for each in step.state.ended.of(path))
        step.record(changes.WindowsTurned(step.now_ms, path))


def _answer(step: Step, op: wire.AnyOperation, listings: Listings) -> wire.AnyResult:
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
            return listings.answer(step, op)
        case wire.PutAccount():
            return account_operations.put(step, op)
        case wire.RemoveAccount():
            return account_operations.remove(step, op)
        case wire.Adjust():
            return account_operations.adjust(step, op)
        case wire.AcceptClock():
            return ledger_operations.accept_clock(step, op)
        case wire.Resume():
            return ledger_operations.resume(step, op)
        case wire.GetHistory():
            return session_operations.turn_for_history(step, op)
        case wire.CountRefusals():
            return wire.RefusalsCounted() if op.account in step.state.accounts else wire.UnknownAccount(op.account)
        case _:
            assert_never(op)
