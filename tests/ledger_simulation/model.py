"""The oracle's own ledger: the rules once more, as plainly as they can be written, and by another method.

Production keeps one running total per account and baselines; the model keeps a counter for each window that runs. It is
told every operation that the writer applied, in order, with its answer, and says what is wrong with the answer. It
holds facts only by what was answered, so that it does not drift from a ledger whose choice is free (how much a
speculative hold may take), and it is made again from the facts on the disk whenever a ledger recovers.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from msgspec.structs import astuple

from ambit.ledger import wire
from ambit.ledger.amounts import RESOURCES, Amount, Limit, Window
from ambit.ledger.windows import LIFETIME, Span, window_after, window_at

SIZE = len(RESOURCES)
INDEX = {resource: index for index, resource in enumerate(RESOURCES)}
NAMED_MEMORY_MS = 600_000
Sparse = dict[int, int]
"""An amount: only the resources that it has, by their index."""


def sparse(amount: Amount) -> Sparse:
    """The resources that an amount has."""
    return {index: value for index, value in enumerate(astuple(amount)) if value}


def _full(counts: list[int]) -> Sparse:
    return {index: value for index, value in enumerate(counts) if value}


@dataclass(frozen=True, slots=True)
class Fact:
    """One operation that the writer applied; no operation: time passed."""

    now_ms: int
    component: str = ""
    op: wire.AnyOperation | None = None
    result: wire.AnyResult | None = None


@dataclass(slots=True)
class Running:
    """A window that runs, and what stands in it."""

    window: Window
    span: Span
    zone: str
    spent: list[int] = field(default_factory=lambda: [0] * SIZE)
    held: list[int] = field(default_factory=lambda: [0] * SIZE)


@dataclass(slots=True)
class Part:
    """A part of a hold, granted at once."""

    granted_ms: int
    amount: Sparse
    charged: Sparse


@dataclass(slots=True, eq=False)
class ModelHold:
    """A hold and what became of it."""

    id: str
    chain: "tuple[ModelAccount, ...]"
    parts: list[Part]
    expires_ms: int
    asked: wire.Reserve
    granted: Amount
    open: bool = True
    expired: bool = False
    """Charged in full, and its true settle was not taken yet."""
    closed_ms: int = 0
    sequence: int = 0


@dataclass(slots=True, eq=False)
class ModelAccount:
    """An account as the model sees it."""

    path: str
    parent: "ModelAccount | None"
    limits: tuple[Limit, ...]
    zone: str
    running: list[Running]
    removed: bool = False
    session: bool = False
    ended: bool = False
    grace_ms: int = 0
    idle_since_ms: int = 0
    open_holds: int = 0

    def chain(self) -> "tuple[ModelAccount, ...]":
        found: list[ModelAccount] = []
        account: ModelAccount | None = self
        while account is not None:
            found.append(account)
            account = account.parent
        return tuple(found)

    def at(self, window: Window) -> Running:
        for running in self.running:
            if running.window is window:
                return running
        raise KeyError(f"the model does not count {window} of {self.path}")


class Model:
    """All accounts and holds by the facts so far. `windows`: those that this run's limits use, and no others."""

    def __init__(self, windows: Sequence[Window]) -> None:
        self._windows = tuple(windows)
        self.now_ms = 0
        self.accounts: dict[str, ModelAccount] = {}
        self.holds: dict[str, ModelHold] = {}
        self.open: dict[str, ModelHold] = {}
        self.problems: list[str] = []

    def replay(self, facts: Iterable[Fact]) -> None:
        """Takes up what a disk has."""
        for fact in facts:
            self.step(fact)

    def step(self, fact: Fact) -> None:
        """One operation and its answer. What is wrong with it is added to `problems`."""
        if fact.now_ms < self.now_ms:
            self.problems.append(f"the ledger's clock went back from {self.now_ms} to {fact.now_ms}")
        self.now_ms = fact.now_ms
        self._fall_due()
        match fact.op:
            case None:
                return
            case wire.Reserve():
                self._reserve(fact.op, fact.result)
            case wire.Extend():
                self._extend(fact.op, fact.result)
            case wire.Settle():
                self._settle(fact.op, fact.result)
            case wire.Release():
                self._release(fact.op, fact.result)
            case wire.Open():
                self._open(fact.op, fact.result)
            case wire.Close():
                if isinstance(fact.result, wire.SessionClosed):
                    self.accounts[fact.op.path].ended = True
            case wire.Kill():
                if isinstance(fact.result, wire.Killed):
                    self._end_under(self.accounts[fact.op.path])
            case wire.PutAccount():
                self._put(fact.op, fact.result)
            case wire.GetUsage():
                if isinstance(fact.result, wire.Usage):
                    self.problems.extend(self.compare(self.accounts[fact.op.path], fact.result))
            case wire.RemoveAccount():
                if isinstance(fact.result, wire.AccountRemoved) and fact.op.path in self.accounts:
                    self.accounts[fact.op.path].removed = True
                    self._end_under(self.accounts[fact.op.path])
            case _:
                pass

    def compare(self, account: ModelAccount, said: wire.Usage) -> list[str]:
        """How what the ledger says of an account differs."""
        self._turn(account)
        lifetime = account.running[0]
        found: list[str] = []
        for what, counted, shown in (("spent", lifetime.spent, said.spent), ("held", lifetime.held, said.held)):
            if _full(counted) != sparse(shown):
                found.append(f"{account.path} has {_full(counted)} {what}, and the ledger says {shown}")
        for view in said.limits:
            at, index = account.at(view.window), INDEX[view.resource]
            if (view.spent, view.held) != (at.spent[index], at.held[index]):
                found.append(
                    f"{account.path} {view.window} {view.resource}: {at.spent[index]} spent, {at.held[index]} held, "
                    f"and the ledger says {view.spent}, {view.held}"
                )
        return found

    def may_be_folded(self, account: ModelAccount) -> bool:
        """Whether the ledger may have forgotten it: only sessions that have ended."""
        return account.session and self._ended(account)

    # -- accounts

    def _put(self, op: wire.PutAccount, result: wire.AnyResult | None) -> None:
        if not isinstance(result, wire.AccountPut):
            return
        account = self.accounts.get(op.path)
        if account is None:
            account = ModelAccount(op.path, None, op.limits, op.time_zone, self._running(op.time_zone))
            self.accounts[op.path] = account
        self._turn(account)
        account.parent = None if op.parent is None else self.accounts[op.parent]
        account.limits, account.zone, account.removed = op.limits, op.time_zone, False

    def _running(self, zone: str) -> list[Running]:
        lifetime = Running(Window.LIFETIME, LIFETIME, zone)
        return [lifetime, *(Running(each, window_at(each, zone, self.now_ms), zone) for each in self._windows)]

    def _open(self, op: wire.Open, result: wire.AnyResult | None) -> None:
        if not isinstance(result, wire.Opened):
            return
        if op.path in self.accounts:
            if not result.already:
                self.problems.append(f"{op.path} was opened twice")
            return
        if result.already:
            self.problems.append(f"{op.path} is said to be open, and was never opened")
        parent = self.accounts[op.parent]
        if any(above.removed for above in parent.chain()):
            self.problems.append(f"{op.path} was opened under a removed account")
        self.accounts[op.path] = ModelAccount(
            op.path,
            parent,
            op.limits,
            parent.zone,
            [Running(Window.LIFETIME, LIFETIME, parent.zone)],
            session=True,
            grace_ms=op.grace_ms,
            idle_since_ms=self.now_ms,
        )

    def _end_under(self, top: ModelAccount) -> None:
        for account in self.accounts.values():
            if account.session and not account.ended and top in account.chain():
                self._ended(account)  # it may have been abandoned before
                account.ended = True

    def _ended(self, account: ModelAccount) -> bool:
        if account.session and not account.ended and not account.open_holds:
            account.ended = account.idle_since_ms + account.grace_ms <= self.now_ms
        return account.ended

    def _turn(self, account: ModelAccount) -> None:
        for running in account.running:
            end_ms = running.span.end_ms
            if end_ms is not None and self.now_ms >= end_ms:
                span = window_after(running.window, end_ms, running.zone, account.zone, self.now_ms)
                if span.start_ms < end_ms or span.end_ms is None or span.end_ms <= self.now_ms:
                    self.problems.append(f"{account.path} {running.window}: {running.span} is followed by {span}")
                running.span, running.zone = span, account.zone
                running.spent, running.held = [0] * SIZE, [0] * SIZE

    # -- holds

    def _reserve(self, op: wire.Reserve, result: wire.AnyResult | None) -> None:
        known = self.holds.get(op.id)
        if known is not None and not self._may_be_forgotten(known):
            if isinstance(result, wire.Granted) and not (known.open and op == known.asked):
                self.problems.append(f"{op.id} was granted again: open is {known.open}, asked was {known.asked}")
            elif isinstance(result, wire.Granted) and result.amount != known.granted:
                self.problems.append(f"{op.id} was granted {known.granted}, and the repeat {result.amount}")
            return
        account = self.accounts.get(op.path)
        if account is None or not account.session:
            if isinstance(result, wire.Granted):
                self.problems.append(f"{op.id} is held on {op.path}, which is no session")
            return
        chain = account.chain()
        if not self._admitted(chain, op.id, sparse(op.want), sparse(op.at_least), result):
            return
        assert isinstance(result, wire.Granted)
        amount = sparse(result.amount)
        expires_ms = self.now_ms + op.expires_in_ms
        hold = ModelHold(op.id, chain, [Part(self.now_ms, amount, {})], expires_ms, op, result.amount)
        self.holds[op.id] = self.open[op.id] = hold
        account.open_holds += 1
        self._hold(chain, amount)

    def _extend(self, op: wire.Extend, result: wire.AnyResult | None) -> None:
        hold = self.holds.get(op.id)
        if hold is None or not hold.open:
            if isinstance(result, wire.Granted):
                self.problems.append(f"{op.id} is not open and was extended")
            return
        if op.sequence <= hold.sequence:
            return
        if not self._admitted(hold.chain, op.id, sparse(op.want), sparse(op.at_least), result):
            return
        assert isinstance(result, wire.Granted)
        hold.sequence = op.sequence
        hold.expires_ms = self.now_ms + op.expires_in_ms
        amount = sparse(result.amount)
        hold.parts.append(Part(self.now_ms, amount, {}))
        self._hold(hold.chain, amount)

    def _settle(self, op: wire.Settle, result: wire.AnyResult | None) -> None:
        hold = self.holds.get(op.id)
        if hold is None or not (hold.open or hold.expired):
            if isinstance(result, wire.Settled):
                self.problems.append(f"{op.id} was settled, and is not open")
        elif isinstance(result, wire.Settled):
            self._close(hold, sparse(op.used))
        elif hold.open:
            self.problems.append(f"{op.id} is open and was not settled: {result}")

    def _release(self, op: wire.Release, result: wire.AnyResult | None) -> None:
        hold = self.holds.get(op.id)
        if hold is None or not (hold.open or hold.expired):
            if isinstance(result, wire.Released):
                self.problems.append(f"{op.id} was released, and is not open")
        elif isinstance(result, wire.Released):
            self._close(hold, {})
        elif hold.open:
            self.problems.append(f"{op.id} is open and was not released: {result}")

    def _may_be_forgotten(self, hold: ModelHold) -> bool:
        """Only named holds are, a while after their end: of the others there is a watermark."""
        return not hold.open and "#" not in hold.id and self.now_ms >= hold.closed_ms + NAMED_MEMORY_MS

    def _fall_due(self) -> None:
        for hold in [each for each in self.open.values() if each.expires_ms <= self.now_ms]:
            self._close(hold, _total(hold))
            hold.expired = True

    def _close(self, hold: ModelHold, used: Sparse) -> None:
        correction = hold.expired
        for account in hold.chain:
            self._turn(account)
        for part in hold.parts:
            share = {index: min(used.get(index, 0), held) for index, held in part.amount.items()}
            used = {index: rest for index, value in used.items() if (rest := value - share.get(index, 0))}
            for account in hold.chain:
                for running in account.running:
                    if part.granted_ms >= running.span.start_ms:
                        for index, value in share.items():
                            running.spent[index] += value - part.charged.get(index, 0)
                        if not correction:
                            for index, value in part.amount.items():
                                running.held[index] -= value
            part.charged = share
        if used:
            for account in hold.chain:
                for running in account.running:
                    for index, value in used.items():
                        running.spent[index] += value
        hold.expired = False
        if not correction:
            hold.open = False
            hold.closed_ms = self.now_ms
            del self.open[hold.id]
            session = hold.chain[0]
            session.open_holds -= 1
            session.idle_since_ms = self.now_ms

    def _hold(self, chain: tuple[ModelAccount, ...], amount: Sparse) -> None:
        for account in chain:
            for running in account.running:
                for index, value in amount.items():
                    running.held[index] += value
            for limit in account.limits:
                index = INDEX[limit.resource]
                if index in amount:
                    at = account.at(limit.window)
                    if at.spent[index] + at.held[index] > limit.amount:
                        self.problems.append(
                            f"overspent: {account.path} {limit.window} {limit.resource}: {at.spent[index]} spent, "
                            f"{at.held[index]} held, limit {limit.amount}"
                        )

    # -- admission

    def _admitted(
        self,
        chain: tuple[ModelAccount, ...],
        hold_id: str,
        want: Sparse,
        at_least: Sparse,
        result: wire.AnyResult | None,
    ) -> bool:
        """Whether it was granted; what is wrong with that, or with the refusal, is a problem."""
        for account in chain:
            self._turn(account)
        if any(account.removed or self._ended(account) for account in chain):
            if isinstance(result, wire.Granted | wire.Wait):
                self.problems.append(f"{hold_id}: {type(result).__name__} on what has ended or was removed")
            return False
        final, waits, room = False, False, dict(want)
        for limit, at in _limits_of(chain):
            index = INDEX[limit.resource]
            if index not in want:
                continue
            need = at_least.get(index, 0)
            free = max(limit.amount - at.spent[index] - at.held[index], 0)
            if free < need:
                spent = 0 if limit.window is Window.MINUTE else at.spent[index]
                final = final or spent + need > limit.amount
                waits = True
            room[index] = min(room[index], free)
        expected = "Refused" if final else "Wait" if waits else "Granted"
        if type(result).__name__ != expected:
            self.problems.append(f"{hold_id}: {expected} was due, and the ledger says {result}")
        elif isinstance(result, wire.Granted):
            room = {index: value for index, value in room.items() if value}
            if sparse(result.amount) != room:
                self.problems.append(f"{hold_id}: granted {result.amount}, of a room of {room}")
        return isinstance(result, wire.Granted)


def _limits_of(chain: tuple[ModelAccount, ...]) -> Iterator[tuple[Limit, Running]]:
    for account in chain:
        for limit in account.limits:
            yield limit, account.at(limit.window)


def _total(hold: ModelHold) -> Sparse:
    total: Sparse = {}
    for part in hold.parts:
        for index, value in part.amount.items():
            total[index] = total.get(index, 0) + value
    return total
