"""The oracle's own ledger: the rules once more, as plainly as they can be written, and by another method.

Production keeps one running total per account and baselines; the model keeps a counter for each window that runs. It is
told every operation that the writer applied, in order, with its answer, and says what is wrong with the answer. It
counts by what was answered, so that it does not drift from a ledger that erred, and it is made again from the facts on
the disk whenever a ledger recovers.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec
from msgspec.structs import astuple

from ambit.ledger import wire
from ambit.ledger.amounts import INDEX, RESOURCES, Amount, Limit, Vector, Window, plus
from ambit.ledger.paths import user_path
from ambit.ledger.windows import LIFETIME, Span, window_after, window_at

SIZE = len(RESOURCES)
NAME_MEMORY_MS = 600_000
HOLDER_MEMORY_MS = 24 * 3600 * 1000
FOLD_AFTER_MS = 600_000
SPECULATIVE_PART = 10
"""Speculative holds may have one part in so many of what is left."""


class Fact(msgspec.Struct, frozen=True):
    """One operation that the writer applied; no operation: time passed."""

    now_ms: int
    component: str = ""
    op: wire.AnyOperation | None = None
    result: wire.AnyResult | None = None
    over: tuple[str, ...] = ()
    """Sessions that ended by it, or fell due before it."""
    folded: tuple[str, ...] = ()
    """Sessions that the ledger forgot."""


class Running(msgspec.Struct):
    """A window that runs, and what stands in it."""

    window: Window
    span: Span
    zone: str
    spent: list[int]
    held: list[int]

    @classmethod
    def begun(cls, window: Window, span: Span, zone: str) -> "Running":
        """One in which nothing stands yet."""
        return cls(window, span, zone, [0] * SIZE, [0] * SIZE)


class Part(msgspec.Struct):
    """A part of a hold, granted at once."""

    granted_ms: int
    amount: Vector
    charged: Vector


class ModelHold(msgspec.Struct, eq=False):
    """A hold and what became of it."""

    id: str
    component: str
    chain: "tuple[ModelAccount, ...]"
    parts: list[Part]
    expires_ms: int
    asked: wire.Reserve
    granted: Amount
    speculative: bool
    open: bool = True
    expired: bool = False
    """Charged in full, and its true settle was not taken yet."""
    closed_ms: int = 0
    sequence: int = 0


@dataclass(slots=True)
class ModelHolder:
    """Who numbers its holds."""

    watermark: int = 0
    sure_watermark: int = 0
    """The same, since the ledger could last have forgotten it."""
    heard_ms: int = 0
    known_since_ms: int = -1
    """When the ledger could last have got to know it anew."""

    def late(self, now_ms: int) -> bool:
        """Whether its last word was so long ago that the ledger may forget it."""
        return now_ms >= self.heard_ms + HOLDER_MEMORY_MS


@dataclass(slots=True, eq=False)
class ModelAccount:
    """An account as the model sees it."""

    path: str
    parent: "ModelAccount | None"
    limits: tuple[Limit, ...]
    zone: str
    running: list[Running]
    put: wire.PutAccount | None = None
    """As the operator last put it."""
    removed: bool = False
    opened: wire.Open | None = None
    """Of a session."""
    agent: "ModelAccount | None" = None
    """Of a sub-session, the Agent in whose name it runs, where that is not above it."""
    ended: bool = False
    ended_ms: int = 0
    busy_ms: int = 0
    """When something was last held for it, or under it."""
    open_holds: int = 0
    lowered: Vector = field(default_factory=dict[int, int])
    """What the operator took off what was spent."""
    turns_ms: int = 0
    """When the first of its windows ends."""

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

    def bounds(self, extends: bool) -> tuple[Limit, ...]:
        """The limits that refuse: a hold that is extended is not held up by a rate."""
        shadow = self.put is not None and self.put.enforcement is wire.Enforcement.SHADOW
        return () if shadow else tuple(each for each in self.limits if not (extends and each.window is Window.MINUTE))

    @property
    def acts(self) -> bool:
        """Whether something of a session may still act."""
        return self.opened is not None and (not self.ended or self.open_holds > 0)


class Model:
    """All accounts and holds by the facts so far. `windows`: those that this run's limits use, and no others."""

    def __init__(self, windows: Sequence[Window]) -> None:
        self._windows = tuple(windows)
        self.now_ms = 0
        self.accounts: dict[str, ModelAccount] = {}
        self.folded: set[str] = set()
        """Those that were ever folded. An open that comes much later makes a new session of the name."""
        self.holds: dict[str, ModelHold] = {}
        self.open: dict[str, ModelHold] = {}
        self.holders: dict[str, ModelHolder] = {}
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
        # Of an operation that ends sessions: those under what it names; of all others: those that nobody used.
        if fact.over and not isinstance(fact.op, wire.Close | wire.Kill | wire.RemoveAccount):
            self._abandoned(fact.over)
        for path in fact.folded:
            self._fold(path)
        match fact.op:
            case None:
                return
            case wire.Reserve():
                self._reserve(fact, fact.op)
            case wire.Extend():
                self._extend(fact.op, fact.result)
            case wire.Settle():
                self._settle(fact.op, fact.result)
            case wire.Release():
                self._release(fact.op, fact.result)
            case wire.Open():
                self._open(fact.op, fact.result)
            case wire.Close() | wire.Kill() | wire.RemoveAccount():
                self._end(fact)
            case wire.PutAccount():
                self._put(fact.op, fact.result)
            case wire.Adjust():
                self._adjust(fact.op, fact.result)
            case wire.GetUsage():
                if isinstance(fact.result, wire.Usage):
                    self.problems.extend(self.compare(self.accounts[fact.op.path], fact.result))
                elif fact.op.path in self.accounts:
                    self.problems.append(f"{fact.op.path} is said to be unknown")
            case _:
                pass

    def compare(self, account: ModelAccount, said: wire.Usage) -> list[str]:
        """How what the ledger says of an account differs."""
        self._turn(account)
        lifetime = account.running[0]
        found: list[str] = []
        for what, counted, shown in (("spent", lifetime.spent, said.spent), ("held", lifetime.held, said.held)):
            if tuple(counted) != astuple(shown):
                found.append(f"{account.path} has {counted} {what}, and the ledger says {shown.vector()}")
        for view in said.limits:
            at, index = account.at(view.window), INDEX[view.resource]
            if (view.spent, view.held) != (at.spent[index], at.held[index]):
                found.append(
                    f"{account.path} {view.window} {view.resource}: {at.spent[index]} spent, {at.held[index]} held, "
                    f"and the ledger says {view.spent}, {view.held}"
                )
        if tuple(view.limit for view in said.limits) != tuple(limit.amount for limit in account.limits):
            found.append(f"{account.path} has {account.limits}, and the ledger says {said.limits}")
        return found

    # -- accounts

    def _put(self, op: wire.PutAccount, result: wire.AnyResult | None) -> None:
        if not isinstance(result, wire.AccountPut):
            return
        account = self.accounts.get(op.path)
        if account is None:
            account = self.accounts[op.path] = self._new(op.path, op.limits, op.time_zone)
        self._turn(account)
        account.parent = None if op.parent is None else self.accounts[op.parent]
        account.put, account.limits, account.zone, account.removed = op, op.limits, op.time_zone, False
        for user in self.accounts.values():
            if user.parent is account and user.opened is None and user.path.startswith("user/"):
                self._turn(user)
                user.limits, user.zone = op.user_limits or (), op.time_zone

    def _new(self, path: str, limits: tuple[Limit, ...], zone: str) -> ModelAccount:
        lifetime = Running.begun(Window.LIFETIME, LIFETIME, zone)
        windows = [Running.begun(each, window_at(each, zone, self.now_ms), zone) for each in self._windows]
        return ModelAccount(path, None, limits, zone, [lifetime, *windows])

    def _adjust(self, op: wire.Adjust, result: wire.AnyResult | None) -> None:
        if not isinstance(result, wire.Adjusted):
            return
        index = INDEX[op.resource]
        for account in self.accounts[op.path].chain():
            self._turn(account)
            account.lowered = plus(account.lowered, {index: max(-op.amount, 0)})
            for running in account.running:
                running.spent[index] = max(running.spent[index] + op.amount, 0)

    def _turn(self, account: ModelAccount) -> None:
        if self.now_ms < account.turns_ms:
            return
        for running in account.running:
            end_ms = running.span.end_ms
            if end_ms is not None and self.now_ms >= end_ms:
                span = window_after(running.window, end_ms, running.zone, account.zone, self.now_ms)
                if span.start_ms < end_ms or span.end_ms is None or span.end_ms <= self.now_ms:
                    self.problems.append(f"{account.path} {running.window}: {running.span} is followed by {span}")
                running.span, running.zone = span, account.zone
                running.spent, running.held = [0] * SIZE, [0] * SIZE
        ends_ms = [running.span.end_ms for running in account.running if running.span.end_ms is not None]
        account.turns_ms = min(ends_ms, default=2**63)

    # -- sessions

    def _open(self, op: wire.Open, result: wire.AnyResult | None) -> None:
        known = self.accounts.get(op.path)
        if isinstance(result, wire.Opened) and result.already is (known is None):
            self.problems.append(f"{op.path} is open: {known is not None}; the ledger says {result.already}")
        parent = self.accounts.get(op.parent)
        if known is not None or parent is None:
            return
        chain = parent.chain()
        agent = None if op.agent is None else self.accounts[op.agent]
        bounds = chain if agent is None or agent in chain else (agent, *chain)
        closed = any(above.removed or above.ended for above in bounds)
        crowded = any(
            above.put is not None
            and above.put.concurrent_sessions is not None
            and above.put.enforcement is wire.Enforcement.ENFORCE
            and self._gauge(above) >= above.put.concurrent_sessions
            for above in bounds
        )
        expected = "Refused" if closed else "Wait" if crowded else "Opened"
        if type(result).__name__ != expected:
            self.problems.append(f"{op.path}: {expected} was due, and the ledger says {result}")
        if not isinstance(result, wire.Opened):
            return
        limits = op.limits if agent is None or op.agent is None else _tightened(op.limits, agent.limits)
        lifetime = [Running.begun(Window.LIFETIME, LIFETIME, "")]
        session = ModelAccount(op.path, self._owner(op, parent), limits, "", lifetime, opened=op, busy_ms=self.now_ms)
        session.agent = None if agent in chain else agent
        self.accounts[op.path] = session

    def _owner(self, op: wire.Open, parent: ModelAccount) -> ModelAccount:
        """Its user's account, where the Agent has or had limits by user."""
        if not parent.path.startswith("agent/") or parent.put is None:
            return parent
        path = user_path(parent.path, op.user)
        if path not in self.accounts and parent.put.user_limits is not None:
            self.accounts[path] = self._new(path, parent.put.user_limits, parent.zone)
            self.accounts[path].parent = parent
        return self.accounts.get(path, parent)

    def _gauge(self, account: ModelAccount) -> int:
        return sum(each.acts and (account in each.chain() or each.agent is account) for each in self.accounts.values())

    def _under(self, top: ModelAccount) -> Iterator[ModelAccount]:
        """The sessions at and under an account, and those in its name, with all that is under these."""
        for account in self.accounts.values():
            if account.opened is not None and any(
                above is top or (above.agent is not None and top in above.agent.chain()) for above in account.chain()
            ):
                yield account

    def _end(self, fact: Fact) -> None:
        op = fact.op
        assert isinstance(op, wire.Close | wire.Kill | wire.RemoveAccount)
        top = self.accounts.get(op.path)
        if top is None:
            return
        named = list(self._under(top))
        names = {each.path for each in named}
        self._abandoned(path for path in fact.over if path not in names)
        for account in named:
            if account.path in fact.over:
                self._over(account)
            elif not account.ended and isinstance(fact.result, wire.SessionClosed | wire.Killed | wire.AccountRemoved):
                self.problems.append(f"{account.path} goes on after {op}")
        if isinstance(op, wire.RemoveAccount) and isinstance(fact.result, wire.AccountRemoved):
            top.removed = True

    def _abandoned(self, over: Iterable[str]) -> None:
        for path in over:
            account = self.accounts[path]
            opened = account.opened
            above = [each for each in account.chain()[1:] if each.opened is not None]
            if opened is None:
                self.problems.append(f"{path} was ended and is no session")
            elif (account.open_holds or account.busy_ms + opened.grace_ms > self.now_ms) and not any(
                each.ended for each in above
            ):
                self.problems.append(f"{path} was ended, and was in use {self.now_ms - account.busy_ms} ms ago")
            self._over(account)

    def _over(self, account: ModelAccount) -> None:
        account.ended, account.ended_ms = True, self.now_ms
        if not account.open_holds:
            self._quiet(account)

    def _quiet(self, session: ModelAccount) -> None:
        """Nothing is held for a session any more: from now on it is idle, and those above it may be."""
        for above in session.chain():
            above.busy_ms = self.now_ms

    def _fold(self, path: str) -> None:
        account = self.accounts.pop(path)
        self.folded.add(path)
        if not account.ended or account.open_holds or account.ended_ms + FOLD_AFTER_MS > self.now_ms:
            self.problems.append(f"{path} was folded: it ended at {account.ended_ms}, {account.open_holds} open holds")

    # -- holds

    def _reserve(self, fact: Fact, op: wire.Reserve) -> None:
        result = fact.result
        known = self.holds.get(op.id)
        granted = isinstance(result, wire.Granted)
        if known is not None and (not granted or not self._may_be_forgotten(known)):
            if granted and not (known.open and op == known.asked):
                self.problems.append(f"{op.id} was granted again: open is {known.open}, asked was {known.asked}")
            elif granted and astuple(result.amount) != astuple(known.granted):
                self.problems.append(f"{op.id} was granted {known.granted}, and the repeat {result.amount}")
            elif known.open and op == known.asked and not granted and fact.component == known.component:
                self.problems.append(f"{op.id} is open, and its repeat was answered {result}")
            return
        used_up, forgotten = self._is_used_up(op.id)
        if granted and used_up and not forgotten:
            self.problems.append(f"{op.id} was granted, and a later one of its holder was before")
        account = self.accounts.get(op.path)
        if account is None or account.opened is None:
            if granted:
                self.problems.append(f"{op.id} is held on {op.path}, which is no session")
            return
        if isinstance(result, wire.ErrorResult | wire.AlreadySettled):
            if not used_up:
                self.problems.append(f"{op.id} was answered {result}")
            return
        chain = account.chain()
        want, at_least = op.want.vector(), op.at_least.vector()
        if self._admitted(chain, op.id, want, at_least, result, op.speculative) and granted:
            amount = result.amount.vector()
            hold = ModelHold(
                op.id,
                fact.component,
                chain,
                [Part(self.now_ms, amount, {})],
                self.now_ms + op.expires_in_ms,
                op,
                result.amount,
                op.speculative,
            )
            self.holds[op.id] = self.open[op.id] = hold
            self._heard(op.id, new=True)
            account.open_holds += 1
            self._hold(chain, amount)

    def _extend(self, op: wire.Extend, result: wire.AnyResult | None) -> None:
        hold = self.holds.get(op.id)
        if hold is None or not hold.open:
            if isinstance(result, wire.Granted):
                self.problems.append(f"{op.id} is not open and was extended")
            return
        if op.sequence <= hold.sequence or isinstance(result, wire.ErrorResult):
            return
        want, at_least = op.want.vector(), op.at_least.vector()
        if self._admitted(hold.chain, op.id, want, at_least, result, extends=True) and isinstance(result, wire.Granted):
            hold.sequence, hold.speculative = op.sequence, False
            hold.expires_ms = self.now_ms + op.expires_in_ms
            amount = result.amount.vector()
            hold.parts.append(Part(self.now_ms, amount, {}))
            self._heard(op.id)
            self._hold(hold.chain, amount, extends=True)

    def _settle(self, op: wire.Settle, result: wire.AnyResult | None) -> None:
        hold = self.holds.get(op.id)
        if hold is None or not (hold.open or hold.expired):
            if isinstance(result, wire.Settled):
                self.problems.append(f"{op.id} was settled, and is not open")
        elif isinstance(result, wire.Settled):
            used = op.used.vector()
            overrun = {index: over for index, value in used.items() if (over := value - _total(hold).get(index, 0)) > 0}
            if result.overrun.vector() != overrun:
                self.problems.append(f"{op.id}: {overrun} is beyond the hold, and the ledger says {result.overrun}")
            self._close(hold, used)
        elif not self._may_be_forgotten(hold):
            self.problems.append(f"{op.id} was not settled, though open {hold.open}, expired {hold.expired}: {result}")

    def _release(self, op: wire.Release, result: wire.AnyResult | None) -> None:
        hold = self.holds.get(op.id)
        if hold is None or not (hold.open or hold.expired):
            if isinstance(result, wire.Released):
                self.problems.append(f"{op.id} was released, and is not open")
        elif isinstance(result, wire.Released):
            self._close(hold, {})
        elif not self._may_be_forgotten(hold):
            self.problems.append(f"{op.id} was not released, though open {hold.open}, expired {hold.expired}: {result}")

    def _is_used_up(self, hold_id: str) -> tuple[bool, bool]:
        """Whether an id that never held anything is below its holder's watermark; whether that may be forgotten."""
        name, mark, number = hold_id.rpartition("#")
        holder = self.holders.get(name)
        if not mark or holder is None:
            return False, True
        return int(number) <= holder.watermark, int(number) > holder.sure_watermark or holder.late(self.now_ms)

    def _heard(self, hold_id: str, new: bool = False) -> None:
        name, mark, number = hold_id.rpartition("#")
        if not mark:
            return
        holder = self.holders.get(name)
        if holder is None:
            holder = self.holders[name] = ModelHolder()
        elif holder.late(self.now_ms):
            # The ledger may have forgotten it meanwhile, and be getting to know it again.
            holder.sure_watermark, holder.known_since_ms = 0, self.now_ms
        if new:
            holder.watermark = max(holder.watermark, int(number))
            holder.sure_watermark = max(holder.sure_watermark, int(number))
        holder.heard_ms = self.now_ms

    def _may_be_forgotten(self, hold: ModelHold) -> bool:
        """Names are, a while after their end; numbers with their holder, a day after its last word."""
        if hold.open:
            return False
        name, mark, _ = hold.id.rpartition("#")
        if not mark:
            return self.now_ms >= hold.closed_ms + NAME_MEMORY_MS
        holder = self.holders[name]
        return holder.late(self.now_ms) or hold.closed_ms <= holder.known_since_ms

    def _fall_due(self) -> None:
        for hold in [each for each in self.open.values() if each.expires_ms <= self.now_ms]:
            self._close(hold, _total(hold))
            hold.expired = True

    def _close(self, hold: ModelHold, used: Vector) -> None:
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
                            if correction and running.window is not Window.LIFETIME:
                                running.spent[index] = max(running.spent[index], 0)  # an `adjust` took it off already
                        if not correction:
                            for index, value in part.amount.items():
                                running.held[index] -= value
            part.charged = share
        for account in hold.chain if used else ():
            for running in account.running:
                for index, value in used.items():
                    running.spent[index] += value
        expires = hold.expires_ms <= self.now_ms and not correction
        hold.expired = False
        if not expires:
            self._heard(hold.id)
        if not correction:
            hold.open, hold.closed_ms, hold.speculative = False, self.now_ms, False
            del self.open[hold.id]
            session = hold.chain[0]
            session.open_holds -= 1
            if not session.open_holds:
                self._quiet(session)

    def _hold(self, chain: tuple[ModelAccount, ...], amount: Vector, extends: bool = False) -> None:
        for account in chain:
            for running in account.running:
                for index, value in amount.items():
                    running.held[index] += value
            for limit in account.bounds(extends):
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
        want: Vector,
        at_least: Vector,
        result: wire.AnyResult | None,
        speculative: bool = False,
        extends: bool = False,
    ) -> bool:
        """Whether it was granted; what is wrong with that, or with the refusal, is a problem."""
        for account in chain:
            self._turn(account)
        if any(account.removed or account.ended for account in chain):
            if not isinstance(result, wire.Refused):
                self.problems.append(f"{hold_id}: {result} on what has ended or was removed")
            return False
        final, waits, room = False, False, dict(want)
        for bound, limit in ((account, limit) for account in chain for limit in account.bounds(extends)):
            index = INDEX[limit.resource]
            if index not in want:
                continue
            at, need = bound.at(limit.window), at_least.get(index, 0)
            free = limit.amount - at.spent[index] - at.held[index]
            if speculative:
                ahead = self._ahead(bound, index)
                free = min((free + ahead) // SPECULATIVE_PART - ahead, free)
            if free < need:
                spent = 0 if limit.window is Window.MINUTE else at.spent[index]
                final = final or spent + need > limit.amount
                waits = True
            room[index] = min(room[index], max(free, 0))
        expected = "Refused" if final else "Wait" if waits else "Granted"
        if type(result).__name__ != expected:
            self.problems.append(f"{hold_id}: {expected} was due, and the ledger says {result}")
        elif isinstance(result, wire.Granted):
            room = {index: value for index, value in room.items() if value}
            if result.amount.vector() != room:
                self.problems.append(f"{hold_id}: granted {result.amount.vector()}, of a room of {room}")
        return isinstance(result, wire.Granted)

    def _ahead(self, account: ModelAccount, index: int) -> int:
        """What is held on an account for acts that may come."""
        return sum(
            _total(hold).get(index, 0) for hold in self.open.values() if hold.speculative and account in hold.chain
        )


def _total(hold: ModelHold) -> Vector:
    total: Vector = {}
    for part in hold.parts:
        for index, value in part.amount.items():
            total[index] = total.get(index, 0) + value
    return total


def _tightened(limits: tuple[Limit, ...], by: tuple[Limit, ...]) -> tuple[Limit, ...]:
    """The smaller of both, where both limit the same over a lifetime."""
    found = {(limit.window, limit.resource): limit for limit in limits}
    for limit in by:
        if limit.window is Window.LIFETIME:
            known = found.get((limit.window, limit.resource), limit)
            found[limit.window, limit.resource] = min(known, limit, key=lambda each: each.amount)
    return tuple(found.values())
