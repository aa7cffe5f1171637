"""What is written: only what differs, and one Event for each change of a reason."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ambit.api.conditions import Condition, ConditionStatus
from ambit.control.events import worth_telling
from ambit.control.writer import merge_difference

VALUES = st.recursive(
    st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3)


def merged(target: Any, patch: Any) -> Any:
    """RFC 7386, as it stands in the RFC."""
    if not isinstance(patch, dict):
        return patch
    result: dict[str, Any] = dict(target) if isinstance(target, dict) else {}  # pyright: ignore[reportUnknownArgumentType] -- JSON
    changes: dict[str, Any] = patch  # pyright: ignore[reportUnknownVariableType] -- JSON
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


@given(OBJECTS, OBJECTS)
def test_the_patch_makes_the_one_of_the_other_and_is_empty_only_where_they_are_equal(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    patch = merge_difference(before, after)
    assert merged(before, patch) == after
    assert bool(patch) == (before != after)


def a_condition(kind: str, status: str, reason: str, message: str = "") -> Condition:
    return Condition(
        type=kind,
        status=ConditionStatus(status),
        reason=reason,
        message=message,
        last_transition_time="2026-01-02T03:04:05Z",
    )


def test_a_reason_that_two_conditions_give_is_told_once_and_one_that_stays_is_not() -> None:
    accepted, ready = a_condition("Accepted", "False", "NoBudget", "m"), a_condition("Ready", "False", "NoBudget", "m")
    [telling] = worth_telling((), (accepted, ready))
    assert (telling.reason, telling.note, telling.warning) == ("NoBudget", "m", True)
    assert worth_telling((accepted, ready), (accepted, ready)) == ()


def test_what_comes_right_is_told_and_what_passes_by_itself_is_not() -> None:
    broken, ready = a_condition("Ready", "False", "NoBudget"), a_condition("Ready", "True", "Ready")
    [telling] = worth_telling((broken,), (ready,))
    assert not telling.warning
    for reason in ("Starting", "Running", "Stopping", "AccountPending"):
        assert worth_telling((), (a_condition("Ready", "False", reason),)) == ()
