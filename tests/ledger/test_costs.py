"""What must not grow with the number of accounts: who looks at all of them is found out by an index that forbids it."""

from typing import NoReturn

from ambit.ledger import wire
from ambit.ledger.accounts import Account
from ambit.ledger.amounts import Window
from ambit.ledger.exposition import TreeCollector
from tests.ledger.builders import DAY_MS, OTHER, SESSION, TEAM, Ledger, a_ledger, a_limit, calls

ELSEWHERE = "session/team-b/s-1"


class Unwalkable(dict[str, Account]):
    """Accounts that are found by their paths alone."""

    def __iter__(self) -> NoReturn:
        _walked()

    def values(self) -> NoReturn:
        _walked()

    def items(self) -> NoReturn:
        _walked()


def _walked() -> NoReturn:
    raise AssertionError("somebody walks over every account")


def unwalkable(ledger: Ledger) -> None:
    ledger.tree.state.accounts = Unwalkable(ledger.tree.state.accounts)


def test_a_scrape_looks_at_budgets_alone() -> None:
    ledger = a_ledger(a_limit(10, Window.DAY))
    ledger.reserve(calls(3), hold="h")
    unwalkable(ledger)
    found = {family.name: family.samples for family in TreeCollector(lambda: ((ledger.tree, ledger.now_ms),)).collect()}
    (held,) = found["ambit_budget_held"]
    assert (held.labels["budget"], held.value) == ("research", 3)


def test_the_sessions_of_a_namespace_are_found_without_those_of_others() -> None:
    ledger = a_ledger()
    ledger.open(path=ELSEWHERE)
    ledger.open(path=OTHER)
    ledger.restart(ledger.through_snapshot(ledger.replayed()))
    unwalkable(ledger)
    for namespace, expected in (("team-a", [SESSION, OTHER]), ("team-b", [ELSEWHERE]), ("none", [])):
        outcome = ledger.tree.apply("gateway", wire.ListSessions(namespace), ledger.now_ms)
        assert isinstance(outcome.result, wire.Sessions)
        assert [each.path for each in outcome.result.sessions] == expected


def test_a_session_that_has_folded_is_in_no_list() -> None:
    ledger = a_ledger()
    ledger.close()
    ledger.pass_time(DAY_MS)
    assert ledger.do(wire.ListSessions("team-a")) == wire.Sessions(())
    assert ledger.do(wire.ListSessions(TEAM)) == wire.Sessions(())
