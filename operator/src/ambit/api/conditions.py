"""Conditions: how every kind says what it is, by the Kubernetes API conventions (never a `phase`)."""

from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

from annotated_types import MaxLen

from ambit.api.base import Doc, ListMap, StatusModel


class ConditionType(StrEnum):
    """The conditions that Ambit writes. `READY` sums up the others; its reason and message are theirs."""

    READY = "Ready"
    ACCEPTED = "Accepted"
    RESOLVED_REFS = "ResolvedRefs"
    WITHIN_BUDGET = "WithinBudget"
    ENFORCED = "Enforced"
    FINISHED = "Finished"


class ConditionStatus(StrEnum):
    """Whether a condition holds."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(StatusModel):
    """One condition of a status."""

    type: Annotated[str, MaxLen(316), Doc("What is said to hold or not.", example="Ready")]
    status: Annotated[ConditionStatus, Doc("Whether it holds.", example='"True"')]
    reason: Annotated[str, MaxLen(1024), Doc("Why, as one CamelCase word that programs may match.", example="NoBudget")]
    message: Annotated[
        str, MaxLen(32768), Doc("Why, for people: what is wrong and what to do.", example="no Budget named default")
    ] = ""
    observed_generation: Annotated[
        int, Doc("The `metadata.generation` that this was said of.", example="3", unit="generations of the object")
    ] = 0
    last_transition_time: Annotated[
        str, MaxLen(64), Doc("When `status` last changed, RFC 3339 in UTC.", example='"2026-01-02T03:04:05Z"')
    ]


Conditions = Annotated[
    tuple[Condition, ...],
    MaxLen(16),
    ListMap(("type",)),
    Doc(
        "What holds of this object; one condition a type.",
        example='[{type: Ready, status: "True", reason: Ready, lastTransitionTime: "2026-01-02T03:04:05Z"}]',
    ),
]


def timestamp(now: datetime) -> str:
    """An instant as Kubernetes writes it: RFC 3339, UTC, whole seconds."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def find(conditions: Iterable[Condition], condition_type: ConditionType) -> Condition | None:
    """The condition of that type, or None."""
    return next((condition for condition in conditions if condition.type == condition_type), None)


def with_condition(
    conditions: Iterable[Condition],
    condition_type: ConditionType,
    status: ConditionStatus,
    reason: str,
    message: str,
    *,
    generation: int,
    now: datetime,
) -> tuple[Condition, ...]:
    """The conditions with this one set, in place; `lastTransitionTime` moves only when `status` changes.

    An unchanged condition compares equal to the old one, so a caller that writes only differences writes nothing.
    """
    before = tuple(conditions)
    old = find(before, condition_type)
    new = Condition(
        type=condition_type,
        status=status,
        reason=reason,
        message=message,
        observed_generation=generation,
        last_transition_time=old.last_transition_time if old and old.status == status else timestamp(now),
    )
    if old is None:
        return (*before, new)
    return tuple(new if condition.type == condition_type else condition for condition in before)
