"""Reading how Budgets stand, and what runs, from what kubectl prints."""

from ambit.api.budget import ResourceName
from e2e.demo.standings import Standing, read_standings, running_pods

TEAM = {
    "apiVersion": "ambit.dev/v1alpha1",
    "kind": "Budget",
    "metadata": {"name": "team", "namespace": "demo", "uid": "1", "generation": 1},
    "spec": {"limits": [{"window": "Day", "usd": "0.06", "runtime": "1h"}]},
    "status": {
        "observedGeneration": 1,
        "limits": [
            {
                "window": "Day",
                "start": "2026-11-21T00:00:00Z",
                "usage": [
                    {"resource": "usd", "limit": "0.06", "spent": "0.0525", "held": "0.0075", "remaining": "0"},
                    {"resource": "runtime", "limit": "1h", "spent": "90s", "held": "0s", "remaining": "58m30s"},
                ],
            }
        ],
    },
}


def test_each_limit_stands_in_its_smallest_unit() -> None:
    usd, runtime = read_standings({"items": [TEAM]})
    assert usd == Standing("team", "Day", ResourceName.USD, 60_000_000, 52_500_000, 7_500_000)
    assert runtime == Standing("team", "Day", ResourceName.RUNTIME, 3_600_000, 90_000, 0)
    assert usd.holds


def test_a_nano_dollar_too_much_does_not_hold() -> None:
    assert not Standing("team", "Day", ResourceName.USD, limit=10, spent=9, held=2).holds


def test_a_budget_that_nobody_has_looked_at_yet_says_nothing() -> None:
    fresh = {key: value for key, value in TEAM.items() if key != "status"}
    assert read_standings({"items": [fresh]}) == ()


def test_pods_run_until_they_have_ended() -> None:
    pods = [
        {"metadata": {"name": name}, "status": {"phase": phase}}
        for name, phase in {"a": "Running", "b": "Succeeded", "c": "Pending", "d": "Failed"}.items()
    ]
    assert running_pods({"items": [*pods, {"metadata": {"name": "e"}}]}) == ("a", "c", "e")
