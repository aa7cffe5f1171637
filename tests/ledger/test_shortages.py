"""What a Budget's limits have refused for good, and still have no room for."""

from ambit.ledger import wire
from ambit.ledger.amounts import Limit, Resource, Window
from ambit.ledger.wire import Enforcement, Refused, TopUp, Wait, WhenExhausted
from tests.ledger.builders import (
    AGENT,
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

DAY = a_limit(100, Window.DAY, Resource.TOKENS)


def a_ledger_with_little_left(spent: int = 97, *limits: Limit) -> Ledger:
    ledger = a_ledger(*(limits or (DAY,)))
    ledger.reserve(tokens(spent), hold="h")
    ledger.settle(tokens(spent))
    return ledger


def refused_from(ledger: Ledger, path: str = TEAM) -> int:
    [limit] = ledger.usage(path).limits
    return limit.refused_from


def put(ledger: Ledger, *limits: Limit, **terms: object) -> None:
    op = wire.PutAccount(TEAM, limits, ORGANISATION, **terms)  # pyright: ignore[reportArgumentType] -- as written
    assert ledger.do(op, "operator") == wire.AccountPut()


def test_the_least_that_was_refused_is_told_while_there_is_no_room_for_it() -> None:
    ledger = a_ledger_with_little_left()
    assert refused_from(ledger) == 0
    assert isinstance(ledger.reserve(tokens(8)), Refused)
    assert refused_from(ledger) == 8
    assert isinstance(ledger.reserve(tokens(5)), Refused)
    assert isinstance(ledger.reserve(tokens(6)), Refused)
    assert refused_from(ledger) == 5
    assert isinstance(ledger.reserve(tokens(3)), wire.Granted), "a smaller one has room"
    assert refused_from(ledger) == 5


def test_what_is_more_than_the_limit_allows_at_all_is_told_as_well() -> None:
    ledger = a_ledger_with_little_left(1)
    assert isinstance(ledger.reserve(tokens(101)), Refused)
    assert refused_from(ledger) == 101


def test_a_refused_extension_is_told() -> None:
    ledger = a_ledger_with_little_left(90)
    ledger.reserve(tokens(2), hold="h2")
    assert isinstance(ledger.extend(1, tokens(11), hold="h2"), Refused)
    assert refused_from(ledger) == 11


def test_a_new_window_says_nothing_of_the_one_before() -> None:
    ledger = a_ledger_with_little_left()
    ledger.reserve(tokens(8))
    ledger.pass_time(13 * HOUR_MS)
    assert refused_from(ledger) == 0
    ledger.reserve(tokens(95), hold="h2")
    ledger.settle(tokens(95), "h2")
    assert refused_from(ledger) == 0, "8 have no room, but nobody asked for them"
    ledger.reserve(tokens(9))
    assert refused_from(ledger) == 9, "and what it refused itself, whatever was refused before"


def test_a_higher_limit_and_a_top_up_with_room_end_it_and_one_without_does_not() -> None:
    ledger = a_ledger_with_little_left()
    ledger.reserve(tokens(8))
    put(ledger, a_limit(104, Window.DAY, Resource.TOKENS))
    assert refused_from(ledger) == 8, "7 are left"
    put(ledger, a_limit(105, Window.DAY, Resource.TOKENS))
    assert refused_from(ledger) == 0
    ledger.reserve(tokens(20))
    assert refused_from(ledger) == 20, "not 8, for which there is room"
    more = TopUp("more", Window.DAY, Resource.TOKENS, 12)
    put(ledger, a_limit(105, Window.DAY, Resource.TOKENS), top_ups=(more,))
    assert refused_from(ledger) == 0


def test_a_correction_that_makes_room_ends_it() -> None:
    ledger = a_ledger_with_little_left()
    ledger.reserve(tokens(8))
    ledger.do(wire.Adjust(TEAM, Resource.TOKENS, -5, "double billing", "ada"), "operator")
    assert refused_from(ledger) == 0


def test_what_only_waits_is_not_refused() -> None:
    ledger = a_ledger(DAY)
    ledger.reserve(tokens(97))
    assert isinstance(ledger.reserve(tokens(8)), Wait)
    assert refused_from(ledger) == 0


def test_a_call_that_may_come_is_not_refused_to_anybody() -> None:
    ledger = a_ledger_with_little_left()
    answer = ledger.do(wire.Reserve("h2", SESSION, tokens(8), tokens(8), 1000, speculative=True))
    assert isinstance(answer, Refused)
    assert refused_from(ledger) == 0


def test_a_minute_is_never_exhausted() -> None:
    ledger = a_ledger(a_limit(100, Window.MINUTE, Resource.TOKENS))
    assert isinstance(ledger.reserve(tokens(101)), Refused)
    assert refused_from(ledger) == 0


def test_each_limit_of_each_budget_tells_of_itself() -> None:
    ledger = a_ledger_with_little_left(97, DAY, a_limit(1000, Window.MONTH, Resource.TOKENS))
    ledger.budget(a_limit(98, resource=Resource.TOKENS), path=ORGANISATION)
    ledger.reserve(tokens(2))
    assert refused_from(ledger, ORGANISATION) == 2
    assert [limit.refused_from for limit in ledger.usage(TEAM).limits] == [0, 0]
    ledger.reserve(tokens(4))
    assert [limit.refused_from for limit in ledger.usage(TEAM).limits] == [4, 0], "the nearest account refuses"


def test_of_a_sessions_own_bound_nothing_is_kept() -> None:
    ledger = a_ledger(DAY)
    ledger.open(a_limit(1), path=OTHER)
    assert isinstance(ledger.reserve(calls(2), path=OTHER), Refused)
    assert refused_from(ledger, OTHER) == 0


def test_in_shadow_it_is_what_would_have_been_refused_for_good() -> None:
    ledger = a_ledger_with_little_left()
    put(ledger, DAY, enforcement=Enforcement.SHADOW)
    ledger.reserve(tokens(2), hold="h2")
    assert isinstance(ledger.reserve(tokens(2), hold="h3"), wire.Granted)  # would have waited for h2's
    for hold in ("h2", "h3"):
        ledger.settle(tokens(2), hold)
    assert refused_from(ledger) == 0
    assert isinstance(ledger.reserve(tokens(8)), wire.Granted)
    assert refused_from(ledger) == 8


def test_a_budget_that_ends_its_sessions_tells_what_it_refused() -> None:
    ledger = a_ledger(DAY)
    put(ledger, DAY, when_exhausted=WhenExhausted.TERMINATE)
    ledger.reserve(tokens(97), hold="h")
    ledger.settle(tokens(97))
    answer = ledger.reserve(tokens(8))
    assert isinstance(answer, Refused)
    assert answer.reason is wire.RefusalReason.TERMINATED
    assert refused_from(ledger) == 8


def test_making_the_budget_anew_is_no_new_window() -> None:
    ledger = a_ledger_with_little_left()
    ledger.reserve(tokens(8))
    for path in (AGENT, TEAM):
        ledger.remove(path)
    ledger.budget(DAY, parent=ORGANISATION)
    assert refused_from(ledger) == 8


def test_a_restart_forgets_it_until_the_next_refusal() -> None:
    ledger = a_ledger_with_little_left()
    ledger.reserve(tokens(8))
    ledger.restart(ledger.replayed())
    assert refused_from(ledger) == 0
    ledger.reserve(tokens(6))
    assert refused_from(ledger) == 6
