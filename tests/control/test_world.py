"""Who looks again when something changes."""

from typing import Any

import pytest

from ambit.control.world import World
from ambit.kube import Key, KubeClient, KubeConfig


def a_world() -> tuple[World, list[tuple[str, Key]]]:
    """A world that hears what the test says, and who was told to look."""
    world, looked = World(KubeClient(KubeConfig("http://127.0.0.1:1", tls=None)), "ambit-system"), list[Any]()
    world.notify(lambda controller, key: looked.append((controller, key)))
    return world, looked


def a_budget(name: str, parent: str | None, version: int = 1) -> dict[str, Any]:
    spec: dict[str, Any] = {"limits": [{"window": "Day", "usd": "1"}]}
    if parent is not None:
        spec["parentRef"] = {"name": parent}
    return {"metadata": {"name": name, "namespace": "team-a", "resourceVersion": str(version)}, "spec": spec}


def an_agent(name: str, budget: str) -> dict[str, Any]:
    spec = {"budgetRef": {"name": budget}, "environment": {"container": {"image": "registry.example/coder:1"}}}
    return {"metadata": {"name": name, "namespace": "team-a", "resourceVersion": "1"}, "spec": spec}


@pytest.mark.parametrize("top", [None, "team"], ids=["a tree", "a cycle, which policy refuses"])
def test_all_that_spends_from_a_budget_looks_when_it_changes(top: str | None) -> None:
    """An Agent two Budgets below is as little ready as one just below, where the uppermost has nothing left."""
    world, looked = a_world()
    world.budgets.observe(None, a_budget("organisation", top))
    world.budgets.observe(None, a_budget("department", "organisation"))
    world.budgets.observe(None, a_budget("team", "department"))
    world.budgets.observe(None, a_budget("other", None))
    for name, budget in (("near", "organisation"), ("far", "team"), ("beside", "other")):
        world.agents.observe(None, an_agent(name, budget))
    looked.clear()
    world.budgets.observe(None, a_budget("organisation", top, version=2))
    agents = {key[1] for controller, key in looked if controller == "agent"}
    budgets = {key[1] for controller, key in looked if controller == "budget"}
    assert (agents, budgets) == ({"near", "far"}, {"organisation", "department", "team"})
