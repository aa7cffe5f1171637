"""Any interleaving of holders, kills, edits, crashes and clocks: the invariant holds after every step.

The machine keeps books of its own: what each hold may have used in truth, and what the ledger acknowledged. They are
compared with the ledger's at every step; a crash replays the journal and must give the identical tree. A restore takes
the ledger, and with it the books, back to a backup: what was used since is what its resumption says.
"""

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, precondition, rule

from ambit.ledger import views, wire
from ambit.ledger.amounts import INDEX, RESOURCES, Amount, Limit, Resource, Vector, Window, plus, split
from ambit.ledger.changes import ClockDoubted
from ambit.ledger.records import RecordKind
from tests.ledger.builders import DAY_MS, HOUR_MS, MINUTE_MS, Ledger

BUDGETS = {
    "budget/n/top": None,
    "budget/n/left": "budget/n/top",
    "budget/n/right": "budget/n/top",
    "budget/n/deep": "budget/n/left",
}
AGENTS = {"agent/n/a": "budget/n/deep", "agent/n/b": "budget/n/right"}
ZONES = ["Etc/UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Kiritimati"]
COMPONENTS = ["gateway", "operator"]

small = st.integers(0, 12)
amounts = st.dictionaries(st.sampled_from(range(len(RESOURCES))), small, max_size=4).map(Amount.of)
needs = st.dictionaries(st.sampled_from(range(len(RESOURCES))), st.integers(1, 8), min_size=1, max_size=3).map(
    Amount.of
)
limits = st.lists(
    st.builds(Limit, st.sampled_from(list(Window)), st.sampled_from(RESOURCES), st.integers(0, 30)),
    max_size=4,
    unique_by=lambda limit: (limit.window, limit.resource),
).map(tuple)
top_ups = st.lists(
    st.builds(
        wire.TopUp,
        st.sampled_from(["one", "two", "three"]),
        st.sampled_from(list(Window)),
        st.sampled_from(RESOURCES),
        st.integers(0, 30),
    ),
    max_size=2,
    unique_by=lambda top_up: top_up.id,
).map(tuple)


class Ask(NamedTuple):
    """What a holder asks to hold."""

    want: Amount
    at_least: Amount
    expires_in_ms: int
    named: bool
    speculative: bool


asks = st.builds(
    Ask,
    amounts,
    needs | needs | amounts,
    st.sampled_from([500, MINUTE_MS, HOUR_MS, DAY_MS]),
    st.booleans(),
    st.sampled_from([False, False, False, True]),
)
lifetime_limits = st.lists(
    st.builds(Limit, st.just(Window.LIFETIME), st.sampled_from(RESOURCES), st.integers(0, 30)),
    max_size=2,
    unique_by=lambda limit: limit.resource,
).map(tuple)


@dataclass
class Act:
    """What a holder does under a hold: it may have used at most what it was granted, until it says what it used."""

    component: str
    path: str
    granted: Amount
    chain: list[str]
    sequence: int = 0
    used: Amount | None = None

    def truly(self) -> Amount:
        """What it used, as far as anybody knows: all that it was granted, until it says."""
        return self.granted if self.used is None else self.used


@dataclass
class Books:
    """What the machine knows by itself."""

    acts: dict[str, Act] = field(default_factory=dict[str, Act])
    adjusted: list[tuple[list[str], int, int]] = field(default_factory=list[tuple[list[str], int, int]])
    """Where something was corrected, of which resource, by how much."""
    opened: set[str] = field(default_factory=set[str])
    parents: dict[str, str | None] = field(default_factory=lambda: {**BUDGETS, **AGENTS})
    moved: set[str] = field(default_factory=set[str])
    """Agents that were put under another Budget: what was spent before stays where it was."""
    lost: dict[str, Act] = field(default_factory=dict[str, Act])
    """Acts that a restore knows nothing of. Their holders do not know."""

    def taken_off(self, path: str) -> Amount:
        """What the operator took off what an account and those under it had spent."""
        return _sum(Amount.of({index: -by}) for chain, index, by in self.adjusted if path in chain and by < 0)


class Backup(NamedTuple):
    """A moment that a restore goes back to."""

    batches: int
    records: int
    books: Books


class LedgerMachine(RuleBasedStateMachine):
    """Several holders against one ledger."""

    sessions = Bundle("sessions")
    holds = Bundle("holds")

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.books = Books()
        self.holds_made = 0
        self.sessions_made = 0
        self.backups: list[Backup] = []

    @initialize(target=sessions, top=limits, deep=limits)
    def begin(self, top: tuple[Limit, ...], deep: tuple[Limit, ...]) -> object:
        for path, parent in BUDGETS.items():
            self.ledger.budget(*{"budget/n/top": top, "budget/n/deep": deep}.get(path, ()), path=path, parent=parent)
        for path, parent in AGENTS.items():
            self.ledger.agent(path=path, parent=parent)
        parents = [*AGENTS, "budget/n/left"]
        return multiple(*[self.opened(wire.Open(self.new_session(), each, DAY_MS)) for each in parents])

    # -- the operator

    @rule(
        path=st.sampled_from(list(BUDGETS)),
        put=limits,
        zone=st.sampled_from(ZONES),
        enforcement=st.sampled_from(wire.Enforcement),
        when_exhausted=st.sampled_from(wire.WhenExhausted),
        top_ups=top_ups,
    )
    def edit(
        self,
        path: str,
        put: tuple[Limit, ...],
        zone: str,
        enforcement: wire.Enforcement,
        when_exhausted: wire.WhenExhausted,
        top_ups: tuple[wire.TopUp, ...],
    ) -> None:
        op = wire.PutAccount(
            path,
            put,
            BUDGETS[path],
            zone,
            enforcement=enforcement,
            warn_at=(80,),
            top_ups=top_ups,
            when_exhausted=when_exhausted,
        )
        assert self.ledger.do(op, "operator") == wire.AccountPut()
        again = self.ledger.usage(path).limits
        assert self.ledger.do(op, "operator") == wire.AccountPut()
        assert self.ledger.usage(path).limits == again  # each top-up is applied once

    @rule(
        path=st.sampled_from(list(AGENTS)),
        put=limits,
        users=st.none() | limits,
        at_a_time=st.none() | st.integers(0, 4),
        holds=st.sampled_from(wire.HoldPolicy),
    )
    def edit_an_agent(
        self,
        path: str,
        put: tuple[Limit, ...],
        users: tuple[Limit, ...] | None,
        at_a_time: int | None,
        holds: wire.HoldPolicy,
    ) -> None:
        op = wire.PutAccount(
            path,
            put,
            self.books.parents[path],
            concurrent_sessions=at_a_time,
            user_limits=users,
            holds=holds,
            warn_at=(50, 100),
        )
        assert self.ledger.do(op, "operator") == wire.AccountPut()

    @rule(path=st.sampled_from([*BUDGETS, *AGENTS]), resource=st.sampled_from(RESOURCES), by=st.integers(-5, 5))
    def adjust(self, path: str, resource: Resource, by: int) -> None:
        spent = self.ledger.usage(path).spent.vector().get(INDEX[resource], 0)
        result = self.ledger.do(wire.Adjust(path, resource, by, "billed otherwise", "ada"), "operator")
        if isinstance(result, wire.Adjusted):
            assert spent + by >= 0
            self.books.adjusted.append((self.chain_of(path), INDEX[resource], by))
        else:
            assert isinstance(result, wire.Invalid)

    @rule(path=st.sampled_from([*BUDGETS, *AGENTS]), elsewhere=st.sampled_from([None, *BUDGETS]))
    def delete_and_make_again(self, path: str, elsewhere: str | None) -> None:
        self.made_again(path, elsewhere)

    def made_again(self, path: str, elsewhere: str | None) -> None:
        before = self.ledger.usage(path)
        self.ledger.remove(path)
        parent = self.books.parents[path]
        if path in AGENTS and elsewhere is not None and elsewhere != parent:
            parent = self.books.parents[path] = elsewhere
            self.books.moved.add(path)
            self.backups.clear()  # what a backup does not cover would have to be told to Budgets that are above no more
        put = tuple(Limit(view.window, view.resource, view.limit) for view in before.limits)
        self.ledger.do(wire.PutAccount(path, put, parent), "operator")
        assert self.ledger.usage(path).spent == before.spent

    # -- holders

    @rule(
        target=sessions,
        parent=st.sampled_from([*AGENTS, "budget/n/left"]),
        put=lifetime_limits,
        grace_ms=st.sampled_from([1000, HOUR_MS]),
        user=st.sampled_from(["", "ada", "bob"]),
    )
    def open(self, parent: str, put: tuple[Limit, ...], grace_ms: int, user: str) -> str:
        return self.opened(wire.Open(self.new_session(), parent, grace_ms, put, {"user": "u"}, user))

    @rule(target=sessions, parent=sessions, put=lifetime_limits, agent=st.sampled_from([None, *AGENTS]))
    def open_under_a_session(self, parent: str, put: tuple[Limit, ...], agent: str | None) -> str:
        return self.opened(wire.Open(self.new_session(), parent, HOUR_MS, put, agent=agent))

    @rule(
        target=holds,
        parent=sessions,
        ask=asks,
        agent=st.sampled_from(list(AGENTS)),
        elsewhere=st.sampled_from(list(BUDGETS)),
    )
    def move_an_agent_in_whose_name_others_act(self, parent: str, ask: Ask, agent: str, elsewhere: str) -> str:
        sub = self.opened(wire.Open(self.new_session(), parent, HOUR_MS, agent=agent))
        hold = self.reserved(sub, ask, "gateway")
        self.made_again(agent, elsewhere)
        return hold

    def new_session(self) -> str:
        self.sessions_made += 1
        return f"session/n/s-{self.sessions_made}"

    def opened(self, op: wire.Open) -> str:
        result = self.ledger.do(op)
        if isinstance(result, wire.Opened):
            assert not result.already
            self.books.opened.add(op.path)
            assert self.ledger.do(op) == wire.Opened(True, op.attributes, result.holds)
        else:
            assert isinstance(result, wire.Refused | wire.Wait | wire.Invalid | wire.UnknownAccount)
        return op.path

    @rule(target=holds, asks=st.lists(st.tuples(sessions, asks, st.sampled_from(COMPONENTS)), min_size=1, max_size=4))
    def reserve(self, asks: list[tuple[str, Ask, str]]) -> object:
        self.back_up()
        return multiple(*[self.reserved(path, ask, component) for path, ask, component in asks])

    def reserved(self, path: str, ask: Ask, component: str) -> str:
        self.holds_made += 1
        hold = f"h-{self.holds_made}" if ask.named else f"{component}-1#{self.holds_made}"
        most = ask.want + ask.at_least
        result = self.ledger.do(
            wire.Reserve(hold, path, most, ask.at_least, ask.expires_in_ms, ask.speculative), component
        )
        if isinstance(result, wire.Granted):
            assert result.amount.covers(ask.at_least)
            assert most.covers(result.amount)
            self.books.acts[hold] = Act(component, path, result.amount, self.chain_of(path))
        else:
            assert isinstance(result, wire.Refused | wire.Wait | wire.Invalid | wire.UnknownAccount)
            assert isinstance(result, wire.UnknownAccount) <= self.is_not_there(path)
        return hold

    @rule(hold=holds, want=amounts, expires_in_ms=st.sampled_from([100, MINUTE_MS, DAY_MS]))
    def extend(self, hold: str, want: Amount, expires_in_ms: int) -> None:
        act = self.books.acts.get(hold)
        if act is None or act.used is not None:
            return
        extension = wire.Extend(hold, act.sequence + 1, expires_in_ms, want)
        result = self.ledger.do(extension, act.component)
        if isinstance(result, wire.Granted):
            again = self.ledger.do(extension, act.component)
            assert again == wire.Granted(result.amount)  # warnings, and what Shadow would have refused, are said once
            act.sequence += 1
            act.granted += result.amount

    @rule(hold=holds, used=amounts, overruns=st.booleans())
    def settle(self, hold: str, used: Amount, overruns: bool) -> None:
        act = self.books.acts.get(hold)
        if act is None:
            return
        if not overruns:
            used = Amount.of(split(used.vector(), act.granted.vector())[0])
        result = self.ledger.do(wire.Settle(hold, used), act.component)
        if isinstance(result, wire.Settled):
            assert act.used is None
            act.used = used
        assert isinstance(
            self.ledger.do(wire.Settle(hold, used), act.component), wire.AlreadySettled | wire.UnknownHold
        )

    @rule(hold=holds)
    def release(self, hold: str) -> None:
        act = self.books.acts.get(hold)
        if act is not None and isinstance(self.ledger.do(wire.Release(hold, "not sent"), act.component), wire.Released):
            assert act.used is None
            act.used = Amount()

    @rule(hold=holds, path=sessions)
    def steal(self, hold: str, path: str) -> None:
        act = self.books.acts.get(hold)
        thief = "other" if act is None else {"gateway": "operator", "operator": "gateway"}[act.component]
        assert isinstance(self.ledger.settle(Amount(), hold, thief), wire.UnknownHold | wire.Forbidden)

    @rule(path=sessions)
    def close(self, path: str) -> None:
        result = self.ledger.close(path)
        assert isinstance(result, wire.SessionClosed | wire.UnknownAccount)
        assert isinstance(result, wire.UnknownAccount) is self.is_not_there(path)

    @rule(path=st.sampled_from([*BUDGETS, *AGENTS]))
    def kill(self, path: str) -> None:
        assert isinstance(self.ledger.kill(path), wire.Killed)

    @rule(path=sessions)
    def kill_a_session(self, path: str) -> None:
        result = self.ledger.kill(path)
        assert isinstance(result, wire.Killed | wire.UnknownAccount)
        assert isinstance(result, wire.UnknownAccount) is self.is_not_there(path)
        if isinstance(result, wire.Killed):
            usage = self.ledger.usage(path)
            # Its own holds: what sessions under it hold is held at it, too, and named by their paths.
            assert bool(usage.holds) <= (path in result.sessions)
            assert (usage.held != Amount()) <= (result.confirmed is None)
            assert usage.state is wire.State.ENDED

    # -- the world

    @rule(by_ms=st.sampled_from([1, 499, 30_000, MINUTE_MS, 7 * HOUR_MS, DAY_MS]))
    def time_passes(self, by_ms: int) -> None:
        self.back_up()
        self.ledger.pass_time(by_ms)

    @rule(by_ms=st.sampled_from([1, MINUTE_MS, DAY_MS]))
    def clock_is_put_back(self, by_ms: int) -> None:
        self.ledger.now_ms -= by_ms

    @rule()
    def clock_is_doubted_and_accepted(self) -> None:
        state = self.ledger.tree.state
        doubted = ClockDoubted(state.now_ms)
        state.evolve(doubted)
        self.ledger.note([doubted])
        accept = wire.AcceptClock("the node was moved", "ada")
        assert isinstance(self.ledger.do(accept, "gateway"), wire.Forbidden)
        assert state.clock_doubted
        assert self.ledger.do(accept, "operator") == wire.ClockAccepted()
        assert not state.clock_doubted

    @precondition(lambda self: bool(self.ledger.journal))
    @rule(through_snapshot=st.booleans())
    def crash(self, through_snapshot: bool) -> None:
        assert self.ledger.image(self.ledger.replayed()) == self.ledger.image()
        restarted = self.ledger.replayed()
        if through_snapshot:
            image = self.ledger.image(restarted)
            restarted = self.ledger.through_snapshot(restarted)
            assert self.ledger.image(restarted) == image
        self.ledger.restart(restarted)

    # -- a restore

    def back_up(self) -> None:
        self.backups.append(Backup(len(self.ledger.journal), len(self.ledger.records), deepcopy(self.books)))

    @precondition(lambda self: bool(self.backups))
    @rule(
        ago=st.integers(1, 10),
        forget=st.booleans(),
        meanwhile_ms=st.sampled_from([0, MINUTE_MS, DAY_MS]),
        crashes=st.booleans(),
    )
    def restore(self, ago: int, forget: bool, meanwhile_ms: int, crashes: bool) -> None:
        del self.backups[max(len(self.backups) - ago, 0) + 1 :]
        backup = self.backups[-1]
        at_loss, self.books = self.books, deepcopy(backup.books)
        for hold, act in self.books.acts.items():
            act.sequence = at_loss.acts[hold].sequence  # its holder goes on from what it knows
        lost = {hold: act for hold, act in at_loss.acts.items() if hold not in self.books.acts}
        self.books.lost = {**at_loss.lost, **lost}
        self.ledger.restored(backup.batches, backup.records)
        self.ledger.pass_time(meanwhile_ms)
        if crashes:
            self.ledger.restart(self.ledger.replayed())
        for act in at_loss.acts:
            self.refuses_until_resumed(wire.Settle(act, Amount()))
        spent = () if forget else self.spent_since(at_loss)
        resumption = wire.Resume("the disk died", "ada", spent, forget=not spent)
        assert isinstance(self.ledger.do(resumption, "gateway"), wire.Forbidden)
        assert self.ledger.do(resumption, "operator") == wire.Resumed()
        for each in spent:
            for index, amount in each.amount.vector().items():
                self.books.adjusted.append((self.chain_of(each.path), index, amount))
        if not forget:
            for path in [*BUDGETS, *(AGENTS.keys() - self.books.moved)]:
                usage = self.ledger.usage(path)
                used = _sum(act.truly() for act in at_loss.acts.values() if path in act.chain)
                assert (usage.spent + usage.held + self.books.taken_off(path)).covers(used), path

    def refuses_until_resumed(self, op: wire.AnyOperation) -> None:
        refused = self.ledger.do(op)
        assert isinstance(refused, wire.Refused)
        assert refused.reason is wire.RefusalReason.RESTORE_PENDING

    def spent_since(self, at_loss: Books) -> tuple[wire.SpentSince, ...]:
        """What acts may have used by now beyond what the backup covers, at the Agent or Budget that lives on."""
        found: dict[str, Vector] = {}
        for hold, act in at_loss.acts.items():
            known = self.books.acts.get(hold)
            _, beyond = split(act.truly().vector(), {} if known is None else known.truly().vector())
            owner = next(path for path in act.chain if path in BUDGETS or path in AGENTS.keys() - self.books.moved)
            found[owner] = plus(found.get(owner, {}), beyond)
        return tuple(wire.SpentSince(path, Amount.of(amount)) for path, amount in found.items() if amount)

    @rule(hold=holds, used=amounts)
    def come_back_with_what_was_lost(self, hold: str, used: Amount) -> None:
        act = self.books.lost.get(hold)
        if act is None:
            return
        gone = (wire.UnknownHold, wire.AlreadySettled)
        assert isinstance(self.ledger.do(wire.Settle(hold, used), act.component), gone)
        assert isinstance(self.ledger.do(wire.Release(hold, "not sent"), act.component), gone)

    # -- what is always so (the ledger's own invariant is checked at every step by `Ledger`)

    @invariant()
    def what_was_used_is_at_most_spent_and_held(self) -> None:
        state = self.ledger.tree.state
        for path in [*BUDGETS, *AGENTS]:
            vector = _sum(act.truly() for act in self.books.acts.values() if path in act.chain).vector()
            for chain, index, by in self.books.adjusted:
                if path in chain:
                    vector[index] = vector.get(index, 0) + by
            usage = views.usage(state, state.accounts[path], state.now_ms)
            booked = (usage.spent + usage.held).vector()
            # Equal, not only enough: an act that is open or unknown is held or charged in full, and nothing else is.
            assert booked == {index: amount for index, amount in vector.items() if amount}, (path, state.now_ms)

    def is_not_there(self, path: str) -> bool:
        folded = {record.path for record in self.ledger.records if record.kind is RecordKind.SESSION}
        return path not in self.books.opened or path in folded

    def chain_of(self, path: str) -> list[str]:
        account = self.ledger.tree.state.accounts[path]
        return [each.path for each in account.chain()]


def _sum(amounts: Iterable[Amount]) -> Amount:
    return sum(amounts, Amount())


LedgerMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestLedgerMachine = LedgerMachine.TestCase
