"""How a Budget says which of its limits refuse: in its condition, its figures, its columns and its Events."""

from typing import Any

import pytest

from ambit.api.budget import Budget, BudgetStatus
from ambit.api.conditions import Condition, ConditionType, find
from ambit.control.events import Telling
from ambit.control.reconcilers.budget import decide as budgets
from ambit.ledger import wire
from ambit.ledger.amounts import Resource, Window
from ambit.telemetry.reasons import Progress
from tests.control.test_budget_and_agent import a_limit_usage, budget_status, decision, seen_usage
from tests.policy.builders import a_budget

USD = 10**9
CENTS = USD // 100
SHORT = a_limit_usage(197 * CENTS, limit=2 * USD, refused_from=5 * CENTS)
SPENT = a_limit_usage(2 * USD, limit=2 * USD)
SHADOW = wire.Enforcement.SHADOW


def within(*limits: wire.LimitUsage, enforcement: wire.Enforcement = wire.Enforcement.ENFORCE) -> Condition:
    found = find(
        budget_status(a_budget(), seen=seen_usage(*limits, enforcement=enforcement)).conditions,
        ConditionType.WITHIN_BUDGET,
    )
    assert found is not None
    return found


# -- the condition --------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        (SPENT, "usd per Day: 2 of 2 spent, room again at 2026-11-22T00:00:00Z"),
        (
            SHORT,
            "usd per Day: 0.03 of 2 left, and what was refused needed 0.05 or more, room again at 2026-11-22T00:00:00Z",
        ),
        (
            a_limit_usage(0, limit=2 * USD, refused_from=3 * USD),
            "usd per Day: 2 of 2 left, and what was refused needed 3 or more, which is above the limit itself",
        ),
        (
            a_limit_usage(7, 0, Window.LIFETIME, 10, resource=Resource.MODEL_CALLS, refused_from=4),
            "modelCalls per Lifetime: 3 of 10 left, and what was refused needed 4 or more",
        ),
        (
            a_limit_usage(90 * 60_000, 0, Window.DAY, 91 * 60_000, resource=Resource.RUNTIME, refused_from=120_000),
            "runtime per Day: 1m of 1h31m left, and what was refused needed 2m or more,"
            " room again at 2026-11-22T00:00:00Z",
        ),
    ],
    ids=["spent", "too little", "above the limit", "for ever", "time"],
)
def test_the_message_has_the_figures_and_the_end(limit: wire.LimitUsage, message: str) -> None:
    assert within(limit).message == message


def test_what_is_spent_altogether_is_the_reason_whatever_else_is_short() -> None:
    tokens = a_limit_usage(10, 0, Window.DAY, 10, resource=Resource.TOKENS)
    said = within(SHORT, tokens)
    assert said.reason == "LimitExhausted"
    assert said.message.startswith("tokens per Day: 10 of 10 spent")
    assert "usd per Day: 0.03 of 2 left" in said.message


def test_in_shadow_it_says_that_it_refuses_nothing() -> None:
    assert within(SHORT, enforcement=SHADOW).message.endswith("; in Shadow: it refuses nothing")


def test_the_figures_say_which_limit_refuses_and_from_what_on() -> None:
    status = budget_status(a_budget(), seen=seen_usage(SHORT, a_limit_usage(1, resource=Resource.TOKENS)))
    usd, tokens = status.limits[0].usage
    assert (usd.reason, usd.refused_from) == ("TooLittleLeft", "0.05")
    assert (tokens.reason, tokens.refused_from) == (None, None)


# -- the column -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "tightest"),
    [
        ((a_limit_usage(62 * USD, limit=100 * USD),), ("62% usd/Day", "62", "100")),
        ((a_limit_usage(1, 0, Window.MONTH, 3, resource=Resource.TOKENS),), ("33% tokens/Month", "1", "3")),
        ((a_limit_usage(999, 0, Window.HOUR, 1000),), ("99% usd/Hour", "0.000000999", "0.000001")),
        ((a_limit_usage(3 * USD, limit=2 * USD),), ("150% usd/Day", "3", "2")),
        (
            (a_limit_usage(50, 0, Window.MINUTE, 60), a_limit_usage(USD, limit=100 * USD)),
            ("1% usd/Day", "1", "100"),
        ),
        (
            (a_limit_usage(30, 0, Window.MINUTE, 60, resource=Resource.TOKENS),),
            ("50% tokens/Minute", "30", "60"),
        ),
        (
            (a_limit_usage(199 * CENTS, 0, Window.MONTH, 2 * USD), SHORT),
            ("98% usd/Day", "1.97", "2"),
        ),
        ((a_limit_usage(0, limit=0), SHORT), ("100% usd/Day", "0", "0")),
    ],
    ids=[
        "the only one",
        "whatever its window",
        "rounded down: something is left",
        "above a lowered limit",
        "a rate is none, beside a limit",
        "a rate alone",
        "one that refuses before one that is fuller",
        "nothing allowed",
    ],
)
def test_the_tightest_limit_is_the_one_that_is_nearest_to_refusing(
    limits: tuple[wire.LimitUsage, ...], tightest: tuple[str, str, str]
) -> None:
    shown = budget_status(a_budget(), seen=seen_usage(*limits)).tightest
    assert shown is not None
    assert (shown.used, shown.spent, shown.limit) == tightest


def test_what_is_not_known_yet_stays_as_it_was() -> None:
    before = budget_status(a_budget(), seen=seen_usage(SHORT))
    assert after(before, None).status.tightest == before.tightest
    assert after(before, None).status.conditions == before.conditions
    assert after(before, None).tellings == ()


# -- Events ---------------------------------------------------------------------


def after(status: BudgetStatus, seen: Any) -> budgets.Decision:
    """What follows once a Budget of this status is seen so."""
    budget: Budget = a_budget().model_copy(update={"status": status})
    return decision(budget, seen=seen)


def of_limits(found: budgets.Decision) -> list[Telling]:
    return [each for each in found.tellings if each.reason in (Progress.TOO_LITTLE_LEFT, Progress.LIMIT_EXHAUSTED)]


def test_a_limit_is_told_of_once_and_again_where_it_gets_worse() -> None:
    first = decision(a_budget(), seen=seen_usage(SHORT))
    [telling] = of_limits(first)
    assert (telling.reason, telling.warning) == ("TooLittleLeft", True)
    assert telling.note.startswith("usd per Day: 0.03 of 2 left")
    smaller = a_limit_usage(197 * CENTS, limit=2 * USD, refused_from=4 * CENTS)
    second = after(first.status, seen_usage(smaller))
    assert second.tellings == ()
    assert second.status != first.status, "the status has the new figure"
    [worse] = of_limits(after(second.status, seen_usage(SPENT)))
    assert worse.reason == "LimitExhausted"


def test_each_limit_is_told_of() -> None:
    tokens = a_limit_usage(10, 0, Window.DAY, 10, resource=Resource.TOKENS)
    first = decision(a_budget(), seen=seen_usage(SHORT))
    second = after(first.status, seen_usage(SHORT, tokens))
    assert [telling.note.split(":")[0] for telling in of_limits(second)] == ["tokens per Day"]
    third = after(second.status, seen_usage(SHORT, a_limit_usage(1, 0, Window.DAY, 10, resource=Resource.TOKENS)))
    assert of_limits(third) == [], "the condition has another reason, and nothing new is wrong"


def test_what_was_told_of_a_window_has_the_same_name_after_a_restart_of_the_ledger() -> None:
    first = decision(a_budget(), seen=seen_usage(SHORT))
    forgotten = after(first.status, seen_usage(a_limit_usage(197 * CENTS, limit=2 * USD)))
    assert [telling.reason for telling in forgotten.tellings] == ["Ready"]
    [again] = of_limits(after(forgotten.status, seen_usage(SHORT)))
    assert again.once == of_limits(first)[0].once
    tomorrow = wire.LimitUsage(Window.DAY, Resource.USD, 2 * USD, 2 * USD, 0, 36 * 3_600_000 - 250)
    [other] = of_limits(after(first.status, seen_usage(tomorrow)))
    assert other.once != again.once


def test_in_shadow_it_is_no_warning() -> None:
    [telling] = of_limits(decision(a_budget(), seen=seen_usage(SPENT, enforcement=SHADOW)))
    assert (telling.warning, telling.note[-31:]) == (False, "; in Shadow: it refuses nothing")
