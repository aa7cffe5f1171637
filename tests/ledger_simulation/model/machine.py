"""The model, step by step."""

from collections.abc import Iterable, Iterator

import msgspec

from ambit.ledger import changes, wire
from ambit.telemetry.reasons import SessionEnd
from tests.ledger_simulation.model import exhaustion, holding, kills, restoring, sessions, tree
from tests.ledger_simulation.model.accounts import ModelAccount
from tests.ledger_simulation.model.comparison import differences
from tests.ledger_simulation.model.facts import Fact
from tests.ledger_simulation.model.state import ModelState

_ENDS = (wire.Close, wire.Kill, wire.RemoveAccount)


class Model(ModelState):
    """All that should be so by the facts so far."""

    def slumbering(self) -> Iterator[ModelAccount]:
        """The sessions that are parked and might be woken: each for which there is room and a slot."""
        for account in self.accounts.values():
            for session in account.lot:
                parking = session.parked
                if parking is None or (
                    exhaustion.may_wake(self, account, parking) and not self._has_no_slot(session.path)
                ):
                    yield session

    def replay(self, facts: Iterable[Fact]) -> None:
        """Takes up what a disk has."""
        for fact in facts:
            self.step(fact)

    def step(self, fact: Fact) -> None:
        """One operation and its answer. What is wrong with it is added to `problems`."""
        if fact.now_ms < self.now_ms:
            self.wrong(f"the ledger's clock went back from {self.now_ms} to {fact.now_ms}")
        self.now_ms = fact.now_ms
        if self.restoring:
            restoring.answered(self, fact.op, fact.result)
            fact = msgspec.structs.replace(fact, op=None, result=None)  # time passes all the same
        op = fact.op
        top = self._cut(fact)
        named = [] if top is None else list(self.under(top))
        early = self._pass_time(fact, top, named) if fact.made else ()
        self.look_at_expiries(sum(isinstance(each, changes.HoldExpired) for each in fact.made))
        match op:
            case None:
                pass
            case wire.Reserve():
                holding.reserve(self, fact, op)
            case wire.Extend():
                holding.extend(self, fact, op)
            case wire.Settle():
                holding.settle(self, op, fact.result)
            case wire.Release():
                holding.release(self, op, fact.result)
            case wire.Open():
                sessions.opened(self, fact, op)
            case wire.Close() | wire.Kill() | wire.RemoveAccount():
                if isinstance(op, wire.Kill):
                    kills.begin(self, op, fact.result, named)
                self._doom(fact, top, named)
                sessions.ended(self, fact, op, named)
            case wire.PutAccount():
                tree.put(self, op, fact.result)
            case wire.Adjust():
                tree.adjust(self, op, fact.result)
            case wire.GetUsage():
                self._look(op, fact.result)
            case _:
                pass
        if fact.made:
            self._follow(fact, top, named, early)
        if self.kills:
            kills.end(self, fact)

    def _cut(self, fact: Fact) -> ModelAccount | None:
        """Under which account the operation ends the sessions, or the exhaustion that it met."""
        if isinstance(fact.op, _ENDS):
            return self.accounts.get(fact.op.path)
        if isinstance(fact.result, wire.Refused) and fact.result.reason is wire.RefusalReason.TERMINATED:
            return self.accounts.get(fact.result.account)
        return None

    def _pass_time(
        self, fact: Fact, top: ModelAccount | None, named: list[ModelAccount]
    ) -> tuple[changes.LimitReached, ...]:
        """What time alone did. The warnings that came true by it."""
        by_operation = {each.path for each in named}
        early: list[changes.LimitReached] = []
        for change in fact.made:
            match change:
                case changes.HoldExpired():
                    self.expire(change.id)
                case changes.SessionOver() if (
                    change.path not in by_operation
                    or self.accounts[change.path].doomed
                    or change.reason is SessionEnd.ABANDONED  # just before the operation would have ended it
                ):
                    sessions.abandoned(self, change.path)
                case changes.EndingBegun() if top is None or change.path != top.path:
                    sessions.doom(self.under(self.accounts[change.path]))
                case changes.SessionFolded():
                    sessions.fold(self, change.path)
                case changes.SessionWoken():
                    exhaustion.wake(self, change, self._has_no_slot)
                case changes.RestoreBegun():
                    self.restoring = True
                case changes.LimitReached() if exhaustion.reached(self, change):
                    exhaustion.warned(self, change)  # before the operation may change what is asked for
                    early.append(change)
                case _:
                    pass
        return tuple(early)

    def _has_no_slot(self, path: str) -> bool:
        """Whether a session that is parked would wake to one too many."""
        session = self.accounts[path]
        bounds = (*session.chain(), *(() if session.agent is None else (session.agent,)))
        return not session.counts and sessions.crowded(self, bounds)

    def _follow(
        self,
        fact: Fact,
        top: ModelAccount | None,
        named: list[ModelAccount],
        early: tuple[changes.LimitReached, ...],
    ) -> None:
        """What follows from the operation."""
        for change in fact.made:
            match change:
                case changes.SessionParked():
                    exhaustion.park(self, change)
                case changes.LimitReached():
                    if change not in early:
                        if not exhaustion.reached(self, change):
                            self.wrong(f"{change}: that much is not spent")
                        exhaustion.warned(self, change)
                case changes.HoldsRecalled():
                    self._recall(change)
                case changes.IdUsedUp():
                    self.holders.heard(change.id, self.now_ms, new=True)
                case _:
                    pass
        if isinstance(fact.result, wire.Refused) and named:
            self._doom(fact, top, named)
            over = set(fact.over)
            for account in named:
                if account.path in over:
                    sessions.be_over(self, account)
                elif not (account.ended or account.doomed):
                    self.wrong(f"{account.path} goes on after {fact.result}")

    def _doom(self, fact: Fact, top: ModelAccount | None, named: list[ModelAccount]) -> None:
        """Where those that the operation ends are many, most end later."""
        begun = {each.path for each in fact.made if isinstance(each, changes.EndingBegun)}
        if top is not None and top.path in begun:
            sessions.doom(named)

    def _recall(self, change: changes.HoldsRecalled) -> None:
        for _, hold_id in change.holds:
            hold = self.open.get(hold_id)
            if hold is None or not hold.speculative or self.accounts[change.path] not in hold.chain:
                self.wrong(f"{hold_id} was recalled from {change.path}, and is none that could be")

    def _look(self, op: wire.GetUsage, result: wire.AnyResult | None) -> None:
        if isinstance(result, wire.Usage):
            self.problems.extend(differences(self, self.accounts[op.path], result))
        elif op.path in self.accounts:
            self.wrong(f"{op.path} is said to be unknown")
