"""A tree that was taken up again, from its journal or from a snapshot, is the tree that it was."""

import pytest

from ambit.ledger import wire
from ambit.ledger.amounts import Resource, Window
from tests.ledger.builders import (
    AGENT,
    DAY_MS,
    HOUR_MS,
    ORGANISATION,
    OTHER,
    SESSION,
    TEAM,
    Ledger,
    a_ledger,
    a_limit,
    calls,
    tokens,
)


def a_ledger_with_a_past() -> Ledger:
    """One of everything: holds open, extended, settled, expired, overrun; sessions open and ended; a tombstone."""
    ledger = a_ledger(a_limit(90), a_limit(90, Window.DAY, Resource.TOKENS), zone="Europe/Berlin")
    ledger.open(a_limit(50), path=OTHER, grace_ms=HOUR_MS)
    ledger.reserve(tokens(5), hold="settled")
    ledger.settle(tokens(7), "settled")
    ledger.reserve(tokens(5), hold="expired", expires_in_ms=1000)
    ledger.pass_time(61_000)
    ledger.reserve(calls(3), hold="open", path=OTHER)
    ledger.extend(1, calls(2), hold="open")
    ledger.budget(path="budget/n/removed", parent=TEAM)
    ledger.open(path="session/n/s-3", parent="budget/n/removed")
    ledger.remove("budget/n/removed")
    return ledger


@pytest.mark.parametrize("through_snapshot", [False, True])
def test_what_is_taken_up_again_looks_and_goes_on_as_before(through_snapshot: bool) -> None:
    ledger, restarted = a_ledger_with_a_past(), a_ledger_with_a_past()
    restarted.restart(restarted.replayed())
    if through_snapshot:
        restarted.restart(restarted.through_snapshot())
    paths = [ORGANISATION, TEAM, AGENT, SESSION, OTHER, "budget/n/removed", "session/n/s-3"]
    assert [restarted.usage(path) for path in paths] == [ledger.usage(path) for path in paths]
    state = restarted.tree.state
    assert (state.open_sessions, state.open_holds) == (2, 1)
    assert (ledger.tree.state.open_sessions, ledger.tree.state.open_holds) == (2, 1)
    for each in (ledger, restarted):
        assert each.reserve(calls(3), hold="open", path=OTHER) == each.reserve(calls(3), hold="open", path=OTHER)
        each.settle(tokens(1), "expired")
        each.pass_time(DAY_MS)
        each.settle(calls(1), "open")
        each.budget(path="budget/n/removed", parent=TEAM)
    assert restarted.image() == ledger.image()


def _zone_change() -> wire.PutAccount:
    return wire.PutAccount(TEAM, (a_limit(9, Window.DAY),), ORGANISATION, "Asia/Tokyo")


def test_looking_at_a_tree_leaves_nothing_that_a_replay_would_miss() -> None:
    """Windows turn when they are looked at; what is journalled afterwards must not depend on who has looked."""
    watched, alone = (a_ledger(a_limit(9, Window.DAY)) for _ in range(2))
    for each in (watched, alone):
        each.now_ms += DAY_MS + HOUR_MS  # and nobody looks
        if each is watched:
            each.usage(TEAM)
        each.tree.apply("operator", _zone_change(), each.now_ms)
        each.pass_time(HOUR_MS)
    assert watched.image() == alone.image()
