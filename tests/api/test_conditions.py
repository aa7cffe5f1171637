"""Conditions move in time only when they change."""

from datetime import UTC, datetime, timedelta

from ambit.api.conditions import Condition, ConditionStatus, ConditionType, find, with_condition

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def _ready(before: tuple[Condition, ...], status: ConditionStatus, reason: str, now: datetime) -> tuple[Condition, ...]:
    return with_condition(before, ConditionType.READY, status, reason, "", generation=1, now=now)


def test_the_same_said_again_is_equal() -> None:
    first = _ready((), ConditionStatus.TRUE, "Ready", NOW)
    assert _ready(first, ConditionStatus.TRUE, "Ready", NOW + timedelta(hours=1)) == first


def test_another_reason_keeps_the_time_and_another_status_moves_it() -> None:
    first = _ready((), ConditionStatus.FALSE, "NoBudget", NOW)
    reworded = _ready(first, ConditionStatus.FALSE, "RouteNotFound", NOW + timedelta(minutes=1))
    turned = _ready(reworded, ConditionStatus.TRUE, "Ready", NOW + timedelta(minutes=2))
    assert [condition.last_transition_time for condition in (*reworded, *turned)] == [
        "2026-01-02T03:04:05Z",
        "2026-01-02T03:06:05Z",
    ]


def test_the_order_stays() -> None:
    two = with_condition(
        _ready((), ConditionStatus.TRUE, "Ready", NOW),
        ConditionType.ACCEPTED,
        ConditionStatus.TRUE,
        "Accepted",
        "",
        generation=1,
        now=NOW,
    )
    again = _ready(two, ConditionStatus.FALSE, "NoBudget", NOW)
    assert [condition.type for condition in again] == ["Ready", "Accepted"]
    assert find(again, ConditionType.FINISHED) is None
