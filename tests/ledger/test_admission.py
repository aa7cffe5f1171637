"""Who gets `Granted`, `Refused`, `Wait`: rule 2 of docs/ledger.md, as a table and case by case."""

import pytest

from ambit.ledger import wire
from ambit.ledger.amounts import INDEX, Amount, Resource, Window
from ambit.ledger.wire import Granted, RefusalReason, Refused, Wait
from tests.ledger.builders import (
    HOUR_MS,
    MINUTE_MS,
    ORGANISATION,
    OTHER,
    SESSION,
    TEAM,
    a_ledger,
    a_limit,
    calls,
    tokens,
)


@pytest.mark.parametrize("window", list(Window))
@pytest.mark.parametrize(
    ("spent", "held", "need", "answer", "answer_in_a_minute"),
    [
        (0, 0, 10, Granted, Granted),
        (0, 0, 11, Refused, Refused),  # more than any window has: final, even for a Minute
        (9, 0, 1, Granted, Granted),
        (10, 0, 1, Refused, Wait),
        (6, 0, 5, Refused, Wait),
        (0, 10, 1, Wait, Wait),
        (5, 5, 5, Wait, Wait),
        (5, 5, 6, Refused, Wait),  # once the others' holds are gone there is still no room
        (4, 5, 1, Granted, Granted),
    ],
)
def test_what_is_spent_refuses_and_what_is_held_waits(
    window: Window, spent: int, held: int, need: int, answer: type, answer_in_a_minute: type
) -> None:
    ledger = a_ledger(a_limit(10, window))
    ledger.open(path=OTHER)
    if spent:
        ledger.reserve(calls(spent), hold="spent", path=OTHER)
        ledger.settle(calls(spent), "spent")
    if held:
        ledger.reserve(calls(held), path=OTHER)
    result = ledger.reserve(calls(need))
    assert type(result) is (answer_in_a_minute if window is Window.MINUTE else answer)
    if isinstance(result, wire.Denial):
        assert (result.account, result.window, result.resource) == (TEAM, window, Resource.MODEL_CALLS)
        assert (result.limit, result.spent, result.held, result.requested) == (10, spent, held, need)
        assert (result.resets_in_ms is None) == (window is Window.LIFETIME)


@pytest.mark.parametrize("resource", list(Resource))
@pytest.mark.parametrize("window", list(Window))
def test_every_resource_is_bounded_in_every_window(resource: Resource, window: Window) -> None:
    amount = Amount.of({INDEX[resource]: 3})
    ledger = a_ledger(a_limit(5, window, resource))
    assert ledger.reserve(amount) == Granted(amount)
    assert isinstance(ledger.reserve(amount), Wait)
    assert ledger.limit_usage(TEAM) == (0, 3)


def test_a_hold_is_shrunk_to_the_room_there_is_and_says_so() -> None:
    ledger = a_ledger(a_limit(10, resource=Resource.TOKENS))
    assert ledger.reserve(tokens(100), at_least=tokens(4)) == Granted(tokens(10))
    assert ledger.limit_usage(TEAM) == (0, 10)


def test_each_resource_is_shrunk_by_itself() -> None:
    ledger = a_ledger(a_limit(10, resource=Resource.TOKENS), a_limit(3))
    want = Amount(tokens=50, model_calls=2, usd_nanos=7)
    granted = ledger.reserve(want, at_least=Amount(model_calls=1))
    assert granted == Granted(Amount(tokens=10, model_calls=2, usd_nanos=7))


def test_nothing_is_held_anywhere_where_one_level_has_no_room() -> None:
    ledger = a_ledger()
    ledger.budget(a_limit(1), path=ORGANISATION)
    assert isinstance(ledger.reserve(calls(2)), Refused)
    for path in (SESSION, TEAM, ORGANISATION):
        assert ledger.usage(path).held == Amount()


def test_the_smallest_room_on_the_path_decides() -> None:
    ledger = a_ledger(a_limit(8))
    ledger.budget(a_limit(5), path=ORGANISATION)
    ledger.open(a_limit(20), path=OTHER)
    assert ledger.reserve(calls(20), at_least=calls(1), path=OTHER) == Granted(calls(5))


def test_a_final_refusal_higher_up_comes_before_a_wait_below() -> None:
    ledger = a_ledger(a_limit(5))
    ledger.budget(a_limit(4), path=ORGANISATION)
    ledger.reserve(calls(4), hold="h")
    ledger.settle(calls(3))  # organisation: 3 of 4 spent
    ledger.open(a_limit(2), path=OTHER)
    ledger.reserve(calls(1), path=OTHER)
    result = ledger.reserve(calls(2), path=OTHER)
    assert isinstance(result, Refused)
    assert result.account == ORGANISATION


def test_a_sessions_own_limit_is_named_before_its_budgets() -> None:
    ledger = a_ledger(a_limit(1))
    ledger.open(a_limit(1), path=OTHER)
    result = ledger.reserve(calls(2), path=OTHER)
    assert isinstance(result, Refused)
    assert result.account == OTHER
    assert "session/team-a/s-2 allows 1 modelCalls in its lifetime: 0 modelCalls spent" in result.message


def test_a_resource_that_is_not_asked_for_refuses_nothing() -> None:
    ledger = a_ledger(a_limit(5, resource=Resource.TOKENS))
    ledger.reserve(tokens(5), hold="h")
    ledger.settle(tokens(9))
    assert ledger.reserve(calls(1)) == Granted(calls(1))


def test_a_new_minute_has_room_again_and_the_refusal_said_when() -> None:
    ledger = a_ledger(a_limit(1, Window.MINUTE))
    ledger.pass_time(15_000)
    ledger.reserve(calls(1), hold="h")
    ledger.settle(calls(1))
    waiting = ledger.reserve(calls(1), hold="next")
    assert isinstance(waiting, Wait)
    assert waiting.resets_in_ms == MINUTE_MS - 15_000
    ledger.pass_time(waiting.resets_in_ms)
    assert ledger.reserve(calls(1), hold="next") == Granted(calls(1)), "a Wait may be asked again under the same id"


@pytest.mark.parametrize(
    ("reserve", "answer"),
    [
        (wire.Reserve("h", SESSION, calls(1), calls(2), 1000), wire.Invalid),
        (wire.Reserve("h", SESSION, calls(1), Amount(), 1000), wire.Invalid),
        (wire.Reserve("h", SESSION, Amount(), Amount(), 1000), wire.Invalid),
        (wire.Reserve("h", TEAM, calls(1), calls(1), 1000), wire.Invalid),
        (wire.Reserve("h", "session/team-a/unknown", calls(1), calls(1), 1000), wire.UnknownAccount),
        (wire.Reserve("h", "nonsense", calls(1), calls(1), 1000), wire.UnknownAccount),
    ],
)
def test_what_makes_no_sense_is_an_error_and_holds_nothing(reserve: wire.Reserve, answer: type) -> None:
    ledger = a_ledger()
    assert type(ledger.do(reserve)) is answer
    assert ledger.usage(TEAM).held == Amount()


def test_refusals_name_their_reason() -> None:
    ledger = a_ledger()
    ledger.close()
    ended = ledger.reserve(calls(1))
    assert isinstance(ended, Refused)
    assert (ended.reason, ended.ended, ended.account) == (RefusalReason.SESSION_ENDED, "Completed", SESSION)
    ledger = a_ledger()
    ledger.open(path=OTHER, parent=TEAM)
    ledger.remove(ORGANISATION)
    result = ledger.open(path="session/team-a/s-3", parent=TEAM)
    assert isinstance(result, Refused)
    assert (result.reason, result.account) == (RefusalReason.ACCOUNT_REMOVED, ORGANISATION)


# -- rates


@pytest.mark.parametrize("more", [1, 50])
def test_a_rate_never_refuses_an_extension_and_its_excess_delays_the_next_admission(more: int) -> None:
    ledger = a_ledger(a_limit(10, Window.MINUTE))
    ledger.reserve(calls(10), hold="h")
    assert ledger.extend(1, calls(more)) == Granted(calls(more))
    assert ledger.limit_usage(TEAM) == (0, 10 + more)
    assert isinstance(ledger.reserve(calls(1)), Wait)
    ledger.settle(calls(10 + more))
    assert isinstance(ledger.reserve(calls(1)), Wait), "it was used in this minute"
    ledger.pass_time(MINUTE_MS)
    assert ledger.reserve(calls(10)) == Granted(calls(10))


def test_an_extension_is_held_up_by_every_other_window() -> None:
    ledger = a_ledger(a_limit(5, Window.MINUTE), a_limit(12, Window.HOUR))
    ledger.reserve(calls(5), hold="h")
    assert isinstance(ledger.extend(1, calls(13)), Refused)
    assert isinstance(ledger.extend(1, calls(8)), Refused), "only what it holds itself is in its way"
    assert ledger.extend(1, calls(8), calls(1)) == Granted(calls(7))


def test_an_extension_waits_for_what_others_hold_and_for_nothing_of_its_own() -> None:
    ledger = a_ledger(a_limit(10))
    ledger.reserve(calls(6), hold="h")
    ledger.reserve(calls(2), hold="other")
    assert isinstance(ledger.extend(1, calls(4)), Wait), "there is room once the other is done"
    refused = ledger.extend(1, calls(5))
    assert isinstance(refused, Refused), "there is none whatever becomes of the other"
    assert (refused.reason, refused.spent, refused.held) == (RefusalReason.LIMIT_EXCEEDED, 0, 8)
    ledger.settle(calls(2), "other")
    assert isinstance(ledger.extend(1, calls(4)), Refused)
    assert ledger.extend(1, calls(2)) == Granted(calls(2))


def test_what_a_hold_has_of_the_window_before_is_not_in_its_way() -> None:
    ledger = a_ledger(a_limit(10, Window.HOUR))
    ledger.open(path=OTHER)
    ledger.reserve(calls(8), hold="h", expires_in_ms=3 * HOUR_MS)
    ledger.pass_time(HOUR_MS)
    ledger.reserve(calls(9), hold="other", path=OTHER)
    assert isinstance(ledger.extend(1, calls(4)), Wait)
    assert ledger.extend(1, calls(1)) == Granted(calls(1))
    assert isinstance(ledger.extend(2, calls(10)), Refused), "now it has one of this hour itself"
    assert isinstance(ledger.extend(2, calls(9)), Wait)


def test_a_rate_in_shadow_would_not_have_refused_an_extension() -> None:
    ledger = a_ledger()
    limits = (a_limit(5, Window.MINUTE),)
    ledger.do(wire.PutAccount(TEAM, limits, ORGANISATION, enforcement=wire.Enforcement.SHADOW), "operator")
    ledger.reserve(calls(5), hold="h")
    assert ledger.extend(1, calls(8)) == Granted(calls(8))
