"""How soon what the ledger counts is seen, and how little is asked where nothing happens."""

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import pytest

from ambit.control.accounts import Accounts
from ambit.control.mirror import LONGEST_REST_S, TICK_S, Mirror, Rest, Turns
from ambit.control.world import World
from ambit.kube import KubeClient, KubeConfig
from ambit.ledger import wire
from ambit.ledger.amounts import Amount
from ambit.ledger.client import LedgerClient
from ambit.policy import Account
from tests.control.test_world import a_budget, an_agent
from tests.ledger.server import running

DAY_MS = 86_400_000


def test_the_ledger_is_asked_once_a_second_after_a_change_and_seldom_after_none() -> None:
    rest, now, asked = Rest(), 0.0, list[float]()
    while now < 120:
        if rest.due("budget/a/b", now):
            asked.append(now)
            rest.seen("budget/a/b", now, changed=now < 5)
        now += TICK_S
    assert asked[:6] == [0, 1, 2, 3, 4, 5]
    gaps = [later - earlier for earlier, later in pairwise(asked)]
    assert all(earlier <= later for earlier, later in pairwise(gaps))
    assert gaps[-1] == LONGEST_REST_S


def test_it_is_asked_when_a_window_ends() -> None:
    rest = Rest()
    for now in range(100):
        rest.seen("budget/a/b", float(now), changed=False)
    rest.seen("budget/a/b", 100.0, changed=False, at_most_s=2.5)
    assert [rest.due("budget/a/b", now) for now in (102.4, 102.5)] == [False, True]


@pytest.mark.parametrize("count", [1, 3, 4, 10])
def test_where_not_all_are_asked_at_once_each_has_its_turn(count: int) -> None:
    turns, paths = Turns(3), [str(number) for number in range(count)]
    asked = [turns.next(paths) for _ in range(count)]
    assert {len(some) for some in asked} == {min(count, 3)}
    assert set(Counter(path for some in asked for path in some).values()) == {min(count, 3)}


class Asking(LedgerClient):
    """Counts which accounts are asked about."""

    asked: ClassVar[Counter[str]] = Counter()

    async def usage(self, op: wire.GetUsage, *, deadline_s: float | None = None) -> wire.Usage:
        self.asked[op.path] += 1
        return await super().usage(op, deadline_s=deadline_s)


async def test_what_happens_after_a_quiet_time_is_seen_at_once_at_every_level(tmp_path: Path) -> None:
    """And what happens in one tree asks for nothing in another."""
    async with (
        running(tmp_path / "data") as server,
        server.client("operator") as ledger,
        server.client("gateway") as gateway,
        Asking(server.url, lambda: "user-operator") as asking,
    ):
        world = World(KubeClient(KubeConfig("http://127.0.0.1:1", tls=None)), "ambit-system")
        accounts = Accounts(ledger)
        tree = {"organisation": None, "team": "organisation", "other": None, "others": "other"}
        for name, parent in tree.items():
            world.budgets.observe(None, a_budget(name, parent))
            await accounts.put(an_account(f"budget/team-a/{name}", parent), "Etc/UTC", 1)
        for name, budget in (("near", "team"), ("beside", "others")):
            world.agents.observe(None, an_agent(name, budget))
            await accounts.put(an_account(f"agent/team-a/{name}", budget), "Etc/UTC", 1)
        now = 0.0
        mirror = Mirror(world, accounts, asking, lambda: now)
        for _ in range(60):
            await mirror.look()
            now += TICK_S
        asking.asked.clear()
        await mirror.look()
        assert set(asking.asked) >= {"budget/team-a/organisation", "budget/team-a/other"}

        await gateway.open(wire.Open("session/team-a/s", "agent/team-a/near", DAY_MS, (), {"agent": "team-a/near"}))
        call = Amount(usd_nanos=5, model_calls=1)
        await gateway.reserve(wire.Reserve("held/1", "session/team-a/s", call, call, 60_000))
        asking.asked.clear()
        await mirror.look()
        seen = {path: usage.usage.held.usd_nanos for path, usage in accounts.usages.items()}
        assert (seen["budget/team-a/team"], seen["budget/team-a/organisation"]) == (5, 5)
        assert accounts.active["agent/team-a/near"] == 1
        assert asking.asked["budget/team-a/others"] + asking.asked["agent/team-a/beside"] <= 1


def an_account(path: str, parent: str | None) -> Account:
    return Account(path=path, parent=None if parent is None else f"budget/team-a/{parent}")
