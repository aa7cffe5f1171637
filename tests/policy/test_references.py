"""Who may refer to whom."""

from typing import Any

import pytest

from ambit.api.common import AllowedNamespaces, LabelSelector
from ambit.policy.references import allows, selects

LABELS = {"team-b": {"team": "research", "stage": "live"}, "team-c": {}}


def _selector(**match: Any) -> dict[str, Any]:
    return {"from": "Selector", "selector": match}


@pytest.mark.parametrize(
    ("allowed", "namespace", "expected"),
    [
        ({}, "team-a", True),
        ({}, "team-b", False),
        ({"from": "Same"}, "team-b", False),
        ({"from": "All"}, "team-b", True),
        ({"from": "All"}, "not-known", True),
        (_selector(matchLabels={"team": "research"}), "team-b", True),
        (_selector(matchLabels={"team": "research"}), "team-c", False),
        (_selector(matchLabels={"team": "other"}), "team-a", True),
        (_selector(matchLabels={"team": "research"}), "not-known", False),
        (_selector(), "team-b", True),
        (_selector(), "not-known", False),
        ({"from": "Selector"}, "team-b", False),
    ],
)
def test_consent(allowed: dict[str, Any], namespace: str, expected: bool) -> None:
    assert allows(AllowedNamespaces.model_validate(allowed), "team-a", namespace, LABELS) is expected


@pytest.mark.parametrize(
    ("requirement", "expected"),
    [
        ({"key": "team", "operator": "In", "values": ["research", "coding"]}, True),
        ({"key": "team", "operator": "In", "values": ["coding"]}, False),
        ({"key": "zone", "operator": "In", "values": ["eu"]}, False),
        ({"key": "team", "operator": "NotIn", "values": ["research"]}, False),
        ({"key": "zone", "operator": "NotIn", "values": ["eu"]}, True),
        ({"key": "team", "operator": "Exists"}, True),
        ({"key": "zone", "operator": "Exists"}, False),
        ({"key": "team", "operator": "DoesNotExist"}, False),
        ({"key": "zone", "operator": "DoesNotExist"}, True),
    ],
)
def test_selectors_mean_what_kubernetes_means(requirement: dict[str, Any], expected: bool) -> None:
    selector = LabelSelector.model_validate({"matchExpressions": [requirement]})
    assert selects(selector, LABELS["team-b"]) is expected


def test_every_part_of_a_selector_must_hold() -> None:
    selector = LabelSelector.model_validate(
        {
            "matchLabels": {"team": "research"},
            "matchExpressions": [{"key": "stage", "operator": "In", "values": ["test"]}],
        }
    )
    assert not selects(selector, LABELS["team-b"])
