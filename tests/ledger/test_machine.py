"""Any interleaving of holders, kills, edits, crashes and clocks: the invariant holds after every step.

The machine keeps books of its own: what each hold may have used in truth, and what the ledger acknowledged. They are
compared with the ledger's at every step; a crash replays the journal and must give the identical tree.
"""

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from ambit.ledger import views, wire
from ambit.ledger.amounts import RESOURCES, Amount, Limit, Window, split
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
limits = st.lists(
    st.builds(Limit, st.sampled_from(list(Window)), st.sampled_from(RESOURCES), st.integers(0, 30)),
    max_size=4,
    unique_by=lambda limit: (limit.window, limit.resource),
).map(tuple)
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


@dataclass
class Books:
    """What the machine knows by itself."""

    acts: dict[str, Act] = field(default_factory=dict[str, Act])
    holds_made: int = 0
    sessions_made: int = 0


class LedgerMachine(RuleBasedStateMachine):
    """Several holders against one ledger."""

    sessions = Bundle("sessions")
    holds = Bundle("holds")

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.books = Books()

    @initialize(top=limits, deep=limits)
    def begin(self, top: tuple[Limit, ...], deep: tuple[Limit, ...]) -> None:
        for path, parent in BUDGETS.items():
            self.ledger.budget(*{"budget/n/top": top, "budget/n/deep": deep}.get(path, ()), path=path, parent=parent)
        for path, parent in AGENTS.items():
            self.ledger.agent(path=path, parent=parent)

    # -- the operator

    @rule(path=st.sampled_from(list(BUDGETS)), put=limits, zone=st.sampled_from(ZONES))
    def edit(self, path: str, put: tuple[Limit, ...], zone: str) -> None:
        assert self.ledger.budget(*put, path=path, parent=BUDGETS[path], zone=zone) == wire.AccountPut()

    @rule(path=st.sampled_from([*BUDGETS, *AGENTS]))
    def delete_and_make_again(self, path: str) -> None:
        before = self.ledger.usage(path)
        self.ledger.remove(path)
        parent = {**BUDGETS, **AGENTS}[path]
        put = tuple(Limit(view.window, view.resource, view.limit) for view in before.limits)
        self.ledger.do(wire.PutAccount(path, put, parent), "operator")
        assert self.ledger.usage(path).spent == before.spent

    # -- holders

    @rule(
        target=sessions,
        parent=st.sampled_from([*AGENTS, "budget/n/left"]),
        put=lifetime_limits,
        grace_ms=st.sampled_from([1000, HOUR_MS]),
    )
    def open(self, parent: str, put: tuple[Limit, ...], grace_ms: int) -> str:
        self.books.sessions_made += 1
        path = f"session/n/s-{self.books.sessions_made}"
        assert self.ledger.open(*put, path=path, parent=parent, grace_ms=grace_ms) == wire.Opened(False, {"user": "u"})
        return path

    @rule(
        target=holds,
        path=sessions,
        want=amounts,
        at_least=amounts,
        component=st.sampled_from(COMPONENTS),
        expires_in_ms=st.sampled_from([500, MINUTE_MS, HOUR_MS, DAY_MS]),
    )
    def reserve(self, path: str, want: Amount, at_least: Amount, component: str, expires_in_ms: int) -> str:
        self.books.holds_made += 1
        hold = f"h-{self.books.holds_made}"
        result = self.ledger.reserve(
            want + at_least, at_least, hold=hold, path=path, component=component, expires_in_ms=expires_in_ms
        )
        if isinstance(result, wire.Granted):
            assert result.amount.covers(at_least)
            assert (want + at_least).covers(result.amount)
            self.books.acts[hold] = Act(component, path, result.amount, self.chain_of(path))
        else:
            assert isinstance(result, wire.Refused | wire.Wait | wire.Invalid | wire.UnknownAccount)
            assert isinstance(result, wire.UnknownAccount) <= self.has_folded(path)
        return hold

    @rule(hold=holds, want=amounts, expires_in_ms=st.sampled_from([100, MINUTE_MS, DAY_MS]))
    def extend(self, hold: str, want: Amount, expires_in_ms: int) -> None:
        act = self.books.acts.get(hold)
        if act is None or act.used is not None:
            return
        extension = wire.Extend(hold, act.sequence + 1, expires_in_ms, want)
        result = self.ledger.do(extension, act.component)
        if isinstance(result, wire.Granted):
            assert self.ledger.do(extension, act.component) == result
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
        assert self.ledger.settle(Amount(), hold, thief) == wire.UnknownHold(hold)

    @rule(path=sessions)
    def close(self, path: str) -> None:
        result = self.ledger.close(path)
        assert isinstance(result, wire.SessionClosed | wire.UnknownAccount)
        assert isinstance(result, wire.UnknownAccount) is self.has_folded(path)

    @rule(path=st.sampled_from([*BUDGETS, *AGENTS]))
    def kill(self, path: str) -> None:
        assert isinstance(self.ledger.kill(path), wire.Killed)

    # -- the world

    @rule(by_ms=st.sampled_from([1, 499, 30_000, MINUTE_MS, 7 * HOUR_MS, DAY_MS]))
    def time_passes(self, by_ms: int) -> None:
        self.ledger.pass_time(by_ms)

    @rule(by_ms=st.sampled_from([1, MINUTE_MS, DAY_MS]))
    def clock_is_put_back(self, by_ms: int) -> None:
        self.ledger.now_ms -= by_ms

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

    # -- what is always so (the ledger's own invariant is checked at every step by `Ledger`)

    @invariant()
    def what_was_used_is_at_most_spent_and_held(self) -> None:
        state = self.ledger.tree.state
        for path in [*BUDGETS, *AGENTS]:
            truly = Amount()
            for act in self.books.acts.values():
                if path not in act.chain:
                    continue
                truly += act.granted if act.used is None else act.used
            usage = views.usage(state, state.accounts[path], state.now_ms)
            booked = usage.spent + usage.held
            # Equal, not only enough: an act that is open or unknown is held or charged in full, and nothing else is.
            assert booked == truly, (path, state.now_ms)

    def has_folded(self, path: str) -> bool:
        return path in {record.path for record in self.ledger.records}

    def chain_of(self, path: str) -> list[str]:
        account = self.ledger.tree.state.accounts[path]
        return [each.path for each in account.chain()]


LedgerMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestLedgerMachine = LedgerMachine.TestCase
